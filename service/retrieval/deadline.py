"""One deadline per request, passed inward."""

from __future__ import annotations

import time


class Deadline:
    """A point in time by which the answer is due."""

    __slots__ = ("at", "seconds")

    def __init__(self, seconds: float, spent: float = 0.0) -> None:
        """A deadline `seconds` from now, less the `spent` seconds that have already passed."""
        self.seconds = seconds
        self.at = time.monotonic() + seconds - spent

    def remaining(self) -> float:
        """Seconds left, never below a millisecond: zero means "no limit" to some clients."""
        return max(self.at - time.monotonic(), 0.001)
