"""The text of a managed key: `csk_<id>_<secret><checksum>`.

The prefix lets scanners of repositories find a key that was published, and the checksum tells a
key from a text that resembles one, as in GitHub's tokens. A key has more than 64 characters:
HMAC-SHA256 replaces a longer key than that by its SHA-256 (RFC 2104, section 2), so the digest that
is stored verifies a token that was signed with the key itself.
"""

from __future__ import annotations

import re
import secrets
from base64 import b32encode
from hashlib import sha256
from string import ascii_letters, digits
from zlib import crc32

PREFIX = "csk_"
ALPHABET = digits + ascii_letters
ID_BYTES = 10
SECRET_LENGTH = 42  # 250 bits
CHECKSUM_LENGTH = 6
KEY = re.compile(
    rf"{PREFIX}(?P<id>[a-z2-7]{{16}})_[0-9A-Za-z]{{{SECRET_LENGTH + CHECKSUM_LENGTH}}}"
)
KEY_ID = re.compile(r"[a-z2-7]{16}")


def new_key(id: str) -> str:
    secret = "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))
    body = f"{PREFIX}{id}_{secret}"
    return body + _checksum(body)


def new_id() -> str:
    return b32encode(secrets.token_bytes(ID_BYTES)).decode().lower()


def id_of(key: str) -> str | None:
    """The id in a key; None if the text can't be a key, or was not copied as a whole."""
    match = KEY.fullmatch(key)
    if match is None or _checksum(key[:-CHECKSUM_LENGTH]) != key[-CHECKSUM_LENGTH:]:
        return None
    return match["id"]


def digest_of(key: str) -> bytes:
    """What is stored of a key. A secret this long needs no slow hash."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def _checksum(body: str) -> str:
    """The CRC-32 in base 62."""
    number, text = crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        text = ALPHABET[digit] + text
    return text
