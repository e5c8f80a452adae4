"""How late the event loop is, and how busy: looked at only while somebody asks for it.

A timer that fires late has waited for everything else that the loop had to do, and so has every
request. Knows nothing of what is done about it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TICK_S = 0.01
TICKS = 10  # of a beat

SCHEDULED = Path("/proc/self/schedstat")


@dataclass(frozen=True, slots=True)
class Beat:
    """What was seen since the last one."""

    seconds: float
    late_s: float  # half of the timers were at least this late
    busy: float  # the share of the time in which the loop's thread had something to do


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
        self._since, self._worked_s = time.monotonic(), _worked_s()
        self._late_s: list[float] = []

    def _next_tick(self) -> None:
        self._due = time.monotonic() + TICK_S
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._late_s.append(time.monotonic() - self._due)
        if len(self._late_s) == TICKS:
            if not self._on_beat(self._beat()):
                self._timer = None
                return
            self._begin()
        self._next_tick()

    def _beat(self) -> Beat:
        seconds = time.monotonic() - self._since
        worked_s = _worked_s()
        if worked_s is None or self._worked_s is None:
            busy = 1.0
        else:
            busy = (worked_s - self._worked_s) / seconds
        return Beat(seconds, sorted(self._late_s)[TICKS // 2], busy)


def _worked_s() -> float | None:
    """For how long the main thread has run, or would have if other processes had let it.

    Linux says so; elsewhere nobody knows.
    """
    try:
        ran_ns, waited_ns, _ = SCHEDULED.read_text().split()
    except (OSError, ValueError):
        return None
    return (int(ran_ns) + int(waited_ns)) / 1e9
