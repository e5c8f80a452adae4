"""API keys, stored as digests and compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import sha256

FINGERPRINT_LENGTH = 16


class ApiKeys:
    """The valid keys; false if there are none."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(map(_digest, keys))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accept(self, sent: str) -> bool:
        """Compare `sent` with every key, so that the time does not depend on which one matches."""
        digest = _digest(sent)
        return sum(hmac.compare_digest(known, digest) for known in self._digests) > 0


def key_fingerprint(key: str) -> str:
    """A short name for a key, from which the key can't be recovered."""
    return _digest(key).hex()[:FINGERPRINT_LENGTH]


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
