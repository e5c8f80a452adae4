"""How long calls have taken lately.

A few hundred of the last ones are kept, and forgotten when no new one has come for a while: what
was slow half a minute ago may be quick again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

KEPT = 256
ENOUGH = 32  # before that, nothing is known; and from then on, it is looked at anew after as many
FORGET_S = 30.0


class Latencies:
    """Seconds in, quantiles out. `clock` tells seconds that only ever grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = 0.0
        self._taken: deque[float] = deque(maxlen=KEPT)
        self._new = 0
        self._p50: float | None = None
        self._p95: float | None = None

    @property
    def p50(self) -> float | None:
        """None where too little is known."""
        self._forget()
        return self._p50

    @property
    def p95(self) -> float | None:
        """None where too little is known."""
        self._forget()
        return self._p95

    def add(self, seconds: float) -> None:
        self._forget()
        self._last = self._clock()
        self._taken.append(seconds)
        self._new += 1
        if self._new >= ENOUGH:
            self._new = 0
            ordered = sorted(self._taken)
            self._p50 = ordered[len(ordered) // 2]
            self._p95 = ordered[len(ordered) * 95 // 100]

    def _forget(self) -> None:
        if self._taken and self._clock() - self._last > FORGET_S:
            self._taken.clear()
            self._new = 0
            self._p50 = self._p95 = None
