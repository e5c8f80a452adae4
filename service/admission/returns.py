"""When those who are sent away should come back: not all at once, and not sooner than they can be
refused again for little.

Each is given the next free place in an imaginary line that moves at `RETURNS_PER_S`. So the more
are sent away, the later they are asked to come, and what they cost then is bounded.
"""

from __future__ import annotations

import math

RETURNS_PER_S = 250
SOONEST_S = 1.0
LATEST_S = 30.0


class Returns:
    """A booking for everybody who is sent away."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0.0

    def book(self, now: float) -> int:
        """In how many whole seconds to come back."""
        self._next = max(self._next + 1 / RETURNS_PER_S, now + SOONEST_S)
        self._next = min(self._next, now + LATEST_S)
        return math.ceil(round(self._next - now, 6))
