"""An adaptive limit on concurrent requests, found by additive increase and decrease by a share.

More concurrency than keeps the process busy answers nothing sooner; it only makes all requests
slower. How much that is depends on the latency of the upstream. So the limit falls while the event
loop is both late and busy, and rises while it was reached and the loop has time left. The class is
pure: measurements come in as arguments.
"""

from __future__ import annotations

MIN_LIMIT = 16
INITIAL_LIMIT = 64
LATE_S = 0.004
LATE_WHILE_REJECTING_S = 0.001  # rejections and health checks have to be answered quickly
BUSY_SHARE = 0.9


class ConcurrencyLimit:
    """`current` is the number of requests that may run at once, at most `highest`."""

    __slots__ = ("_highest", "_lowest", "current")

    def __init__(self, highest: int) -> None:
        self.current = min(INITIAL_LIMIT, highest)
        self._lowest, self._highest = min(MIN_LIMIT, highest), highest

    def adapt(self, late_s: float, busy: float, *, reached: bool, rejecting: bool) -> None:
        """Lower the limit by an eighth if the loop is overloaded, raise it if it was `reached`."""
        is_late = late_s > (LATE_WHILE_REJECTING_S if rejecting else LATE_S)
        if is_late and busy > BUSY_SHARE:
            self.current = max(self._lowest, self.current - self.current // 8)
        elif reached:
            self.current = min(self._highest, self.current + self.current // 8 + 1)
