"""How many requests are worked on at once: as many as there is time for.

More than that answer nothing sooner; they only make everybody wait for everybody. How many it
takes to keep the process busy depends on how long the upstream takes, so it is found out: while the
event loop is late because it has so much to do, fewer are let in, and more as long as it has time.
Pure: it is told what was seen, and knows no clock, no loop and no request.
"""

from __future__ import annotations

LOWEST = 16
AT_FIRST = 64
LATE_S = 0.004
LATE_WHILE_REFUSING_S = 0.001  # a refusal is to be quick, and so is the answer to a probe

BUSY = 0.9


class Limit:
    """`now` is how many may be worked on at once, `highest` at most."""

    __slots__ = ("_highest", "_lowest", "now")

    def __init__(self, highest: int) -> None:
        self.now = min(AT_FIRST, highest)
        self._lowest, self._highest = min(LOWEST, highest), highest

    def adapt(self, late_s: float, busy: float, *, reached: bool, refusing: bool) -> None:
        """Take in how late and busy the loop was, and whether the limit was in anybody's way."""
        late = late_s > (LATE_WHILE_REFUSING_S if refusing else LATE_S)
        if late and busy > BUSY:
            self.now = max(self._lowest, self.now - self.now // 8)
        elif reached:
            self.now = min(self._highest, self.now + self.now // 8 + 1)
