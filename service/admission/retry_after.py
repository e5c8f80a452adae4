"""Chooses the `Retry-After` of rejected requests, so that they do not all return at once.

Each rejection reserves the next free slot in a schedule of `RETRIES_PER_S`. The more requests are
rejected, the later they are asked to return, which bounds the cost of rejecting them again.
"""

from __future__ import annotations

import math

RETRIES_PER_S = 250
MIN_RETRY_AFTER_S = 1.0
MAX_RETRY_AFTER_S = 30.0


class RetryAfterSchedule:
    """Spreads retries over time."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0.0

    def reserve(self, now: float) -> int:
        """Reserve a point in time; returns the whole seconds until then."""
        self._next = max(self._next + 1 / RETRIES_PER_S, now + MIN_RETRY_AFTER_S)
        self._next = min(self._next, now + MAX_RETRY_AFTER_S)
        return math.ceil(round(self._next - now, 6))
