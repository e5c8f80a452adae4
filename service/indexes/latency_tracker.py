"""Quantiles of recent call latencies, over a sliding window.

The window is emptied after `MAX_IDLE_S` without a call: what was slow half a minute ago may be
fast again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW = 256
MIN_SAMPLES = 32  # before the first quantiles, and between two computations of them
MAX_IDLE_S = 30.0


class LatencyTracker:
    """`clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_added = 0.0
        self._samples: deque[float] = deque(maxlen=WINDOW)
        self._new_samples = 0
        self._p50: float | None = None
        self._p95: float | None = None

    @property
    def p50(self) -> float | None:
        """The median in seconds; None until there are enough samples."""
        self._expire()
        return self._p50

    @property
    def p95(self) -> float | None:
        """The 95th percentile in seconds; None until there are enough samples."""
        self._expire()
        return self._p95

    def add(self, seconds: float) -> None:
        self._expire()
        self._last_added = self._clock()
        self._samples.append(seconds)
        self._new_samples += 1
        if self._new_samples >= MIN_SAMPLES:
            self._new_samples = 0
            ordered = sorted(self._samples)
            self._p50 = ordered[len(ordered) // 2]
            self._p95 = ordered[len(ordered) * 95 // 100]

    def _expire(self) -> None:
        if self._samples and self._clock() - self._last_added > MAX_IDLE_S:
            self._samples.clear()
            self._new_samples = 0
            self._p50 = self._p95 = None
