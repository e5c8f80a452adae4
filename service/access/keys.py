"""The keys of this service, kept as digests, and compared in constant time.

Knows nothing of HTTP, nor of what a key opens.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import sha256

NAME_SIZE = 16


class ApiKeys:
    """The keys that are accepted; none at all is false."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(map(_digest, keys))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accept(self, presented: str) -> bool:
        """Whether it is one of them. Every one is compared, so the time tells nothing."""
        digest = _digest(presented)
        return sum(hmac.compare_digest(known, digest) for known in self._digests) > 0


def key_fingerprint(key: str) -> str:
    """A short name for a key, which does not give it away."""
    return _digest(key).hex()[:NAME_SIZE]


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
