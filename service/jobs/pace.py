"""How an import makes room for searches: while there are some, it works only part of the time.

Knows nothing of either. Both need the processor, much of it under one lock, and what a batch costs
goes on after it was taken, when the index catches up. Measured on 2 cores, embedded engine, four
searching without a pause, batches of 100 records (of 40 words):

    rest, times the batch    searches kept    records/s
            0                     25 %           2,090
            2.5                   63 %             860
            4                     76 %             550
            6                     85 %             360

Without searches it is 3,600 records/s. The event loop was late by 12 ms (p99) without a rest, by 6
to 7 with one. Larger batches are no quicker, and keep it for longer: with 500 records 20 to 30 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable

BUSY_A_SECOND = 5.0  # requests; whoever looks at the import's progress is not meant
REST = 5.0  # times as long as the batch took
LONGEST_S = 2.0  # a slow batch has waited for others, as a rule


class Pace:
    """`begun` counts the requests so far."""

    def __init__(
        self, begun: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._begun = begun
        self._clock = clock
        self._seen, self._at = begun(), clock()

    def rest(self, took: float) -> float:
        """How long to rest after a batch that took so many seconds."""
        now, begun = self._clock(), self._begun()
        seconds, requests = now - self._at, begun - self._seen
        self._at, self._seen = now, begun
        busy = requests > BUSY_A_SECOND * max(seconds, 0.1)
        return min(took * REST, LONGEST_S) if busy else 0.0
