"""`Throttle`: pauses an import between its batches while there are searches.

Both need the processor, much of the time under the GIL, and a batch costs more after it was
written, when the index catches up. Measured on 2 cores, embedded engine, four clients that search
without a pause, batches of 100 records of 40 words:

    pause, times the batch   searches kept    records/s
            0                     25 %           2,090
            2.5                   63 %             860
            4                     76 %             550
            6                     85 %             360

Without searches it is 3,600 records/s. The event loop was late by 12 ms (p99) without a pause, by 6
to 7 with one. Larger batches are no faster, and hold the processor longer: 20 to 30 ms for 500.
"""

from __future__ import annotations

import time
from collections.abc import Callable

BUSY_REQUESTS_PER_S = 5.0  # so that requests for the import's own progress do not count
PAUSE_FACTOR = 5.0
MAX_PAUSE_S = 2.0  # a slow batch usually waited for other work


class Throttle:
    """`request_count` returns the number of requests since the service started."""

    def __init__(
        self, request_count: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._request_count = request_count
        self._clock = clock
        self._last_count, self._last_at = request_count(), clock()

    def pause_after(self, batch_s: float) -> float:
        """The pause after a batch that took so many seconds."""
        now, count = self._clock(), self._request_count()
        seconds, requests = now - self._last_at, count - self._last_count
        self._last_at, self._last_count = now, count
        is_busy = requests > BUSY_REQUESTS_PER_S * max(seconds, 0.1)
        return min(batch_s * PAUSE_FACTOR, MAX_PAUSE_S) if is_busy else 0.0
