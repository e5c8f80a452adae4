"""How late the event loop is: looked at only while somebody asks for it.

A timer that fires late has waited for everything else that the loop had to do, and so has every
request. Knows nothing of what is done about it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

TICK_S = 0.01
TICKS = 10  # of a beat


@dataclass(frozen=True, slots=True)
class Beat:
    """What was seen since the last one."""

    seconds: float
    late_s: float  # half of the timers were at least this late


class Pulse:
    """Ticks from `start` until `on_beat` says that nobody is interested any more."""

    def __init__(self, on_beat: Callable[[Beat], bool]) -> None:
        self._on_beat = on_beat
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, if it has not begun."""
        if self._timer is None:
            self._begin()
            self._next_tick()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._since = time.monotonic()
        self._late_s: list[float] = []

    def _next_tick(self) -> None:
        self._due = time.monotonic() + TICK_S
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        now = time.monotonic()
        self._late_s.append(now - self._due)
        if len(self._late_s) == TICKS:
            late_s = sorted(self._late_s)[TICKS // 2]
            if not self._on_beat(Beat(now - self._since, late_s)):
                self._timer = None
                return
            self._begin()
        self._next_tick()
