"""How fast something goes lately, and how long what is left will take. Knows only numbers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 10.0


class Speed:
    """Fed with how many records and bytes there were so far, now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int, int]] = deque()

    def add(self, records: int, read: int) -> None:
        now = self._clock()
        self._seen.append((now, records, read))
        while self._seen[0][0] < now - WINDOW_S:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Records a second."""
        return self._per_second(1)

    def eta_s(self, left: int) -> float | None:
        """Seconds for so many bytes that are left; None where nobody knows."""
        per_second = self._per_second(2)
        return left / per_second if per_second else None

    def _per_second(self, which: int) -> float:
        if len(self._seen) < 2:  # noqa: PLR2004 - a beginning and an end
            return 0.0
        first, last = self._seen[0], self._seen[-1]
        seconds = last[0] - first[0]
        return (last[which] - first[which]) / seconds if seconds > 0 else 0.0
