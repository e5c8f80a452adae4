"""Cursors: later pages of a ranking, as it was when the search ran.

A ranking with more than one page is stored for a while. A cursor is the digest of the ranking and
an offset, so equal rankings have equal cursors. It is valid only for the mode and the tenant of its
search, because both are part of the key under which the ranking is stored.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from hashlib import blake2b, sha256

import msgspec

from service.caching.store import CacheStore
from service.errors import CursorExpired
from service.retrieval.query import Explanations, Mode, RankedRecord, SearchQuery

DIGEST_BYTES = 12
OFFSET_BYTES = 3
KEY_BYTES = 16
EXPIRED = "cursor is invalid or has expired; run the search again"


@dataclass(frozen=True, slots=True)
class Ranking:
    """The results after the first page, and the query that they answer."""

    query: SearchQuery
    missing: list[str]
    results: list[RankedRecord]
    explanations: Explanations | None = None


class Cursors:
    """Rankings in a store; none are stored unless `enabled`."""

    def __init__(self, store: CacheStore, ttl_s: float, *, enabled: bool) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._enabled = enabled
        self._decoder = msgspec.msgpack.Decoder(Ranking)

    def store(self, mode: Mode, tenant: str, ranking: Ranking) -> str | None:
        """Store a ranking; returns the cursor of the second page, or None without one."""
        if not self._enabled or not ranking.results:
            return None
        try:
            value = msgspec.msgpack.encode(ranking)
        except (TypeError, ValueError, OverflowError, RecursionError):  # JSON can't hold it either
            return None
        digest = sha256(value).digest()[:DIGEST_BYTES]
        if not self._store.put(_store_key(mode, tenant, digest), value, self._ttl_s):
            return None
        return _encode_cursor(digest, 0)

    async def load(self, mode: Mode, tenant: str, cursor: str) -> RankingPage:
        """Return the page at the cursor; raises `CursorExpired`."""
        digest, offset = _decode_cursor(cursor)
        value = await self._store.get(_store_key(mode, tenant, digest))
        if value is None:
            raise CursorExpired(EXPIRED)
        try:
            ranking = self._decoder.decode(value)
        except msgspec.MsgspecError as exc:  # stored by another version of the service
            raise CursorExpired(EXPIRED) from exc
        if offset >= len(ranking.results):
            raise CursorExpired(EXPIRED)
        return RankingPage(ranking, digest, offset)


@dataclass(frozen=True, slots=True)
class RankingPage:
    """A stored ranking from an offset on."""

    ranking: Ranking
    digest: bytes
    offset: int

    def results(self, count: int) -> list[RankedRecord]:
        return self.ranking.results[self.offset : self.offset + count]

    def next_cursor(self, count: int) -> str | None:
        """The cursor of the page after `count` results, or None at the end."""
        offset = self.offset + count
        return _encode_cursor(self.digest, offset) if offset < len(self.ranking.results) else None


def _store_key(mode: Mode, tenant: str, digest: bytes) -> str:
    """A tenant may be longer than the key of a BLAKE2b, so it is hashed with the digest."""
    return blake2b(f"{mode} {tenant} ".encode() + digest, digest_size=KEY_BYTES).hexdigest()


def _encode_cursor(digest: bytes, offset: int) -> str:
    return base64.urlsafe_b64encode(digest + offset.to_bytes(OFFSET_BYTES)).decode()


def _decode_cursor(cursor: str) -> tuple[bytes, int]:
    """A malformed cursor raises `CursorExpired`, too: clients handle both in the same way."""
    try:
        decoded = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except ValueError:
        decoded = b""
    if len(decoded) != DIGEST_BYTES + OFFSET_BYTES:
        raise CursorExpired(EXPIRED)
    return decoded[:DIGEST_BYTES], int.from_bytes(decoded[DIGEST_BYTES:])
