"""Whether an upstream is worth calling.

Closed, every call may go. After some failures in a row it is open: nobody waits for what is down,
but one call a second may go to see whether it is back, and the first that is answered closes it.
Probes are real calls, and do not wait for each other: one that hangs delays no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 5
PROBE_S = 1.0


class Circuit:
    """`clock` tells seconds that only ever grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._next_probe = 0.0

    @property
    def open(self) -> bool:
        return self._failures >= FAILURES

    def admits(self) -> bool:
        """Whether a call may go now. While it is open, a yes is given away with the asking."""
        if not self.open:
            return True
        now = self._clock()
        if now < self._next_probe:
            return False
        self._next_probe = now + PROBE_S
        return True

    def answered(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1
        if self._failures == FAILURES:
            self._next_probe = self._clock() + PROBE_S
