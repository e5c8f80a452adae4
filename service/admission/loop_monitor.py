"""Measures how late and how busy the event loop is, while somebody asks for it.

A timer that fires late had to wait for all other callbacks in the loop; every request waits as
long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TICK_S = 0.01
TICKS_PER_SAMPLE = 10

SCHEDSTAT = Path("/proc/self/schedstat")


@dataclass(frozen=True, slots=True)
class LoopSample:
    """Measurements since the previous sample."""

    seconds: float
    late_s: float  # median lateness of the timers
    busy: float  # share of the time in which the loop's thread was running or runnable


class LoopMonitor:
    """Samples from `start` until `on_sample` returns False."""

    def __init__(self, on_sample: Callable[[LoopSample], bool]) -> None:
        self._on_sample = on_sample
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Idempotent."""
        if self._timer is None:
            self._begin_sample()
            self._schedule_tick()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_sample(self) -> None:
        self._since, self._cpu_s = time.monotonic(), _cpu_s()
        self._late_s: list[float] = []

    def _schedule_tick(self) -> None:
        self._due = time.monotonic() + TICK_S
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._late_s.append(time.monotonic() - self._due)
        if len(self._late_s) == TICKS_PER_SAMPLE:
            if not self._on_sample(self._sample()):
                self._timer = None
                return
            self._begin_sample()
        self._schedule_tick()

    def _sample(self) -> LoopSample:
        seconds = time.monotonic() - self._since
        cpu_s = _cpu_s()
        busy = 1.0 if cpu_s is None or self._cpu_s is None else (cpu_s - self._cpu_s) / seconds
        return LoopSample(seconds, sorted(self._late_s)[TICKS_PER_SAMPLE // 2], busy)


def _cpu_s() -> float | None:
    """Seconds for which the main thread ran or was runnable; None where the OS is not Linux.

    Time spent runnable counts as busy: the CPU was taken by other processes.
    """
    try:
        ran_ns, waited_ns, _ = SCHEDSTAT.read_text().split()
    except (OSError, ValueError):
        return None
    return (int(ran_ns) + int(waited_ns)) / 1e9
