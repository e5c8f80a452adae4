"""From one page of a ranking to the next: what a cursor is, and what it leads to.

A ranking that goes on after its first page is frozen: kept as it is, for a while. A cursor names it
and a place in it, and nothing else: with the same ranking, it is the same cursor. It leads back for
the search and for the tenant alone that it was made for.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from hashlib import blake2b, sha256

import msgspec

from service.caching.store import CacheStore
from service.errors import CursorExpired
from service.retrieval.query import Explanations, Mode, Query, Result

NAME_BYTES = 12
PLACE_BYTES = 3
KEY_BYTES = 16
EXPIRED = "This cursor leads nowhere any more, or never did; search again without it"


@dataclass(frozen=True, slots=True)
class Ranking:
    """What comes after the first page of an answer, and what it is the answer to."""

    query: Query
    missing: list[str]
    results: list[Result]
    explanations: Explanations | None = None


class Cursors:
    """Frozen rankings in a store. Where `kept` is false, none is frozen."""

    def __init__(self, store: CacheStore, ttl_s: float, *, kept: bool) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._kept = kept
        self._decoder = msgspec.msgpack.Decoder(Ranking)

    def freeze(self, mode: Mode, tenant: str, ranking: Ranking) -> str | None:
        """A cursor to the page after the first one, if there is one and it can be kept."""
        if not self._kept or not ranking.results:
            return None
        try:
            value = msgspec.msgpack.encode(ranking)
        except (TypeError, ValueError, OverflowError, RecursionError):  # nor could it be as JSON
            return None
        name = sha256(value).digest()[:NAME_BYTES]
        if not self._store.put(_key(mode, tenant, name), value, self._ttl_s):
            return None
        return _cursor(name, 0)

    async def follow(self, mode: Mode, tenant: str, cursor: str) -> Page:
        """Where the cursor leads, or `CursorExpired`."""
        name, place = _parts(cursor)
        value = await self._store.get(_key(mode, tenant, name))
        if value is None:
            raise CursorExpired(EXPIRED)
        try:
            ranking = self._decoder.decode(value)
        except msgspec.MsgspecError as exc:  # it was frozen by another version of the service
            raise CursorExpired(EXPIRED) from exc
        if place >= len(ranking.results):
            raise CursorExpired(EXPIRED)
        return Page(ranking, name, place)


@dataclass(frozen=True, slots=True)
class Page:
    """A place in a frozen ranking."""

    ranking: Ranking
    name: bytes
    place: int

    def results(self, count: int) -> list[Result]:
        return self.ranking.results[self.place : self.place + count]

    def next(self, count: int) -> str | None:
        """The cursor to what comes after so many results, if anything does."""
        place = self.place + count
        return _cursor(self.name, place) if place < len(self.ranking.results) else None


def _key(mode: Mode, tenant: str, name: bytes) -> str:
    """Where a ranking is kept: elsewhere for any other search, and for any other tenant."""
    return blake2b(name, key=f"{mode} {tenant}".encode(), digest_size=KEY_BYTES).hexdigest()


def _cursor(name: bytes, place: int) -> str:
    return base64.urlsafe_b64encode(name + place.to_bytes(PLACE_BYTES)).decode()


def _parts(cursor: str) -> tuple[bytes, int]:
    """Its name and place; what is no cursor at all has expired as well, as far as anybody knows."""
    try:
        decoded = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except ValueError:
        decoded = b""
    if len(decoded) != NAME_BYTES + PLACE_BYTES:
        raise CursorExpired(EXPIRED)
    return decoded[:NAME_BYTES], int.from_bytes(decoded[NAME_BYTES:])
