"""A clock that a test sets by hand."""

from __future__ import annotations


class Clock:
    """A replacement for `time.monotonic`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
