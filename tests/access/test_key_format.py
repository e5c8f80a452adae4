"""The text of managed keys."""

from __future__ import annotations

import hmac
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from service.access.key_format import KEY_ID, digest_of, id_of, new_id, new_key


def test_key_names_its_id_and_is_longer_than_a_block_of_hmac() -> None:
    id = new_id()
    key = new_key(id)
    assert KEY_ID.fullmatch(id)
    assert key.startswith(f"csk_{id}_")
    assert id_of(key) == id
    assert len(key) > 64
    assert new_key(id) != key
    assert new_id() != id


def test_digest_verifies_what_the_key_has_signed() -> None:
    """Only because the key has more than 64 characters: HMAC hashes it first."""
    key = new_key(new_id())
    signed = hmac.new(key.encode(), b"a message", sha256).digest()
    assert hmac.new(digest_of(key), b"a message", sha256).digest() == signed


def test_id_of_refuses_keys_that_were_not_copied_as_a_whole() -> None:
    key = new_key("abcdefghijklmnop")
    position = 30
    swapped = key[:position] + ("x" if key[position] != "x" else "y") + key[position + 1 :]
    for wrong in (key[:-1], key + "0", key[1:], f" {key}", key.upper(), swapped, f"{key}\n", ""):
        assert id_of(wrong) is None


@given(st.text())
def test_id_of_takes_any_text(text: str) -> None:
    assert id_of(text) is None
    assert id_of(f"csk_{text}") is None
    digest_of(text)
