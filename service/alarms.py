"""Alarms of which hardly one ever rings: deadlines, and the patience with a call that is on time.

To set a timer of uvloop and to take it back costs 0.01 ms, and a search needs half a dozen. Here an
alarm is pushed on a heap, and taken back by a flag; the loop has one timer, for the earliest.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

TIDY = 1024  # alarms that were taken back, and are still on the heap


class Alarm:
    """Rings once, unless it is taken back."""

    __slots__ = ("_owner", "ring")

    def __init__(self, owner: Alarms, ring: Callable[[], object]) -> None:
        self._owner = owner
        self.ring: Callable[[], object] | None = ring

    def cancel(self) -> None:
        if self.ring is not None:
            self.ring = None
            self._owner.taken_back()


class Alarms:
    """Alarms of one event loop."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._numbers = count()  # so that two alarms for the same moment can be compared
        self._taken_back = 0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, ring: Callable[[], object]) -> Alarm:
        """Call `ring` after so many seconds."""
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        alarm = Alarm(self, ring)
        heapq.heappush(self._heap, (when, next(self._numbers), alarm))
        if self._timer is None or when < self._timer.when():
            self._watch(loop, when)
        return alarm

    def taken_back(self) -> None:
        self._taken_back += 1
        if self._taken_back > TIDY and self._taken_back * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].ring is not None]
            heapq.heapify(self._heap)
            self._taken_back = 0

    def _watch(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].ring is None):
            _, _, alarm = heapq.heappop(self._heap)
            ring, alarm.ring = alarm.ring, None
            if ring is None:
                self._taken_back -= 1
            else:
                ring()
        if self._heap and self._timer is None:
            self._watch(loop, self._heap[0][0])


def expire(limit: asyncio.Timeout) -> None:
    """End what runs within this limit, now."""
    if not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time())
