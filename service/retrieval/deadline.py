"""One deadline per request, passed inward."""

from __future__ import annotations

import time


class Deadline:
    """A point in time by which the answer is due."""

    __slots__ = ("at", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never below a millisecond: zero means "no limit" to some clients."""
        return max(self.at - time.monotonic(), 0.001)
