"""The interface of a cache store.

A store has two jobs. Answers to searches belong to a namespace, and a write to the namespace
invalidates all of them: each namespace has a *generation*, which a write replaces, and an answer is
valid only in the generation that was read before its search began. Values under a plain key are
valid until they expire.

No method raises, and none takes long: a store that fails finds nothing and stores nothing.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class CacheLookup(NamedTuple):
    """The stored answer, if any, and the generation of its namespace.

    `is_settled` says whether an answer that is computed now may be stored: for a while after a
    write, a search may still return what was there before.
    """

    generation: str
    value: bytes | None
    age_s: float
    is_settled: bool


class StoreState(NamedTuple):
    """The size of a store in memory, or whether a store elsewhere is connected."""

    size_bytes: int | None = None
    is_connected: bool | None = None


class CacheStore(Protocol):
    """Stores bytes until they expire, up to a total size."""

    @property
    def state(self) -> StoreState: ...

    async def open(self, scope: str) -> None:
        """`scope` names what is searched; entries of other scopes are never found."""

    async def close(self) -> None: ...

    async def look_up(self, namespace: str, key: str) -> CacheLookup: ...

    def keep(
        self, namespace: str, key: str, generation: str, value: bytes, ttl_s: float
    ) -> None: ...

    async def invalidate(self, namespace: str) -> None:
        """Once this returns, no older answer of the namespace is found."""

    def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Store a value; returns whether `get` will probably find it."""
        ...

    async def get(self, key: str) -> bytes | None: ...
