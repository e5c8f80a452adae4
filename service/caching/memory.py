"""A store in the memory of this process: the least recently used goes first.

Everything happens in the event loop and at once, so looking something up costs no task switch.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from service.caching.store import CacheLookup

OVERHEAD = 400  # bytes that an entry takes beside its key and its value, about
MAX_NAMESPACES = 10_000  # whose last write is remembered one by one


class _Entry(NamedTuple):
    generation: str
    kept_at: float
    ends_at: float
    value: bytes


class _Written(NamedTuple):
    generation: str
    settles_at: float


class MemoryStore:
    """`settle_s` is how long after a write a search may still find what was there before."""

    def __init__(
        self, max_bytes: int, settle_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._settle_s = settle_s
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._bytes = 0
        self._writes = 0
        self._written: OrderedDict[str, _Written] = OrderedDict()
        self._others = _Written("0", clock())  # of all namespaces that are not in there

    async def open(self, scope: str) -> None:
        """Nothing has to be opened, and there is one scope in a process."""

    async def close(self) -> None:
        """Nothing has to be closed."""

    async def look_up(self, namespace: str, key: str) -> CacheLookup:
        now = self._clock()
        generation, settles_at = self._written.get(namespace, self._others)
        entry = self._get((namespace, key), now)
        if entry is not None and entry.generation == generation:
            return CacheLookup(generation, entry.value, now - entry.kept_at, is_settled=True)
        return CacheLookup(generation, None, 0.0, is_settled=now >= settles_at)

    def keep(self, namespace: str, key: str, generation: str, value: bytes, ttl_s: float) -> None:
        if generation == self._written.get(namespace, self._others).generation:
            self._set((namespace, key), generation, value, ttl_s)

    async def invalidate(self, namespace: str) -> None:
        self._writes += 1
        self._written[namespace] = _Written(str(self._writes), self._clock() + self._settle_s)
        self._written.move_to_end(namespace)
        if len(self._written) > MAX_NAMESPACES:
            _, self._others = self._written.popitem(last=False)

    def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        return self._set(("", key), "", value, ttl_s)

    async def get(self, key: str) -> bytes | None:
        entry = self._get(("", key), self._clock())
        return entry.value if entry is not None else None

    def _get(self, place: tuple[str, str], now: float) -> _Entry | None:
        entry = self._entries.get(place)
        if entry is None:
            return None
        if entry.ends_at <= now:
            self._forget(place)
            return None
        self._entries.move_to_end(place)
        return entry

    def _set(self, place: tuple[str, str], generation: str, value: bytes, ttl_s: float) -> bool:
        self._forget(place)
        size = _size(place, value)
        if size > self._max_bytes:
            return False
        now = self._clock()
        self._entries[place] = _Entry(generation, now, now + ttl_s, value)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._entries)))
        return True

    def _forget(self, place: tuple[str, str]) -> None:
        if (entry := self._entries.pop(place, None)) is not None:
            self._bytes -= _size(place, entry.value)


def _size(place: tuple[str, str], value: bytes) -> int:
    return len(place[0]) + len(place[1]) + len(value) + OVERHEAD
