"""A circuit breaker: after repeated failures, calls to an upstream fail at once.

While closed, every call is allowed. After `FAILURE_THRESHOLD` failures in a row the circuit is
open: one call per `PROBE_INTERVAL_S` is allowed as a probe, and the first that succeeds closes it.
Probes are real calls, and do not wait for each other, so one that hangs does not delay the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURE_THRESHOLD = 5
PROBE_INTERVAL_S = 1.0


class CircuitBreaker:
    """`clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._next_probe = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURE_THRESHOLD

    def allows_call(self) -> bool:
        """Whether a call may be made now. While open, a True uses up the probe of this interval."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._next_probe:
            return False
        self._next_probe = now + PROBE_INTERVAL_S
        return True

    def record_success(self) -> None:
        self._failures = 0

    def record_failure(self) -> None:
        self._failures += 1
        if self._failures == FAILURE_THRESHOLD:
            self._next_probe = self._clock() + PROBE_INTERVAL_S
