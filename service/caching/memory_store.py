"""A cache store in memory, with least-recently-used eviction.

All methods finish without a task switch.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from service.caching.store import CacheLookup, StoreState

ENTRY_OVERHEAD = 400  # bytes, about, beside key and value
MAX_NAMESPACES = 10_000  # with a write time of their own


class _Entry(NamedTuple):
    generation: str
    stored_at: float
    expires_at: float
    value: bytes


class _NamespaceState(NamedTuple):
    generation: str
    settles_at: float


class MemoryStore:
    """`settle_s` is the time after a write in which a search may return what was there before."""

    def __init__(
        self, max_bytes: int, settle_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._settle_s = settle_s
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._bytes = 0
        self._writes = 0
        self._namespaces: OrderedDict[str, _NamespaceState] = OrderedDict()
        self._evicted = _NamespaceState("0", clock())  # the newest state that was evicted

    @property
    def state(self) -> StoreState:
        """The size is that of all entries, about."""
        return StoreState(size_bytes=self._bytes)

    async def open(self, scope: str) -> None:
        """No-op: a process has one scope."""

    async def close(self) -> None:
        """No-op."""

    async def look_up(self, namespace: str, key: str) -> CacheLookup:
        now = self._clock()
        generation, settles_at = self._namespaces.get(namespace, self._evicted)
        entry = self._get((namespace, key), now)
        if entry is not None and entry.generation == generation:
            return CacheLookup(generation, entry.value, now - entry.stored_at, is_settled=True)
        return CacheLookup(generation, None, 0.0, is_settled=now >= settles_at)

    def keep(self, namespace: str, key: str, generation: str, value: bytes, ttl_s: float) -> None:
        if generation == self._namespaces.get(namespace, self._evicted).generation:
            self._set((namespace, key), generation, value, ttl_s)

    async def invalidate(self, namespace: str) -> None:
        self._writes += 1
        settles_at = self._clock() + self._settle_s
        self._namespaces[namespace] = _NamespaceState(str(self._writes), settles_at)
        self._namespaces.move_to_end(namespace)
        if len(self._namespaces) > MAX_NAMESPACES:
            _, self._evicted = self._namespaces.popitem(last=False)

    def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        return self._set(("", key), "", value, ttl_s)

    async def get(self, key: str) -> bytes | None:
        entry = self._get(("", key), self._clock())
        return entry.value if entry is not None else None

    def _get(self, entry_key: tuple[str, str], now: float) -> _Entry | None:
        entry = self._entries.get(entry_key)
        if entry is None:
            return None
        if entry.expires_at <= now:
            self._remove(entry_key)
            return None
        self._entries.move_to_end(entry_key)
        return entry

    def _set(self, entry_key: tuple[str, str], generation: str, value: bytes, ttl_s: float) -> bool:
        self._remove(entry_key)
        size = _size(entry_key, value)
        if size > self._max_bytes:
            return False
        now = self._clock()
        self._entries[entry_key] = _Entry(generation, now, now + ttl_s, value)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))
        return True

    def _remove(self, entry_key: tuple[str, str]) -> None:
        if (entry := self._entries.pop(entry_key, None)) is not None:
            self._bytes -= _size(entry_key, entry.value)


def _size(entry_key: tuple[str, str], value: bytes) -> int:
    return len(entry_key[0]) + len(entry_key[1]) + len(value) + ENTRY_OVERHEAD
