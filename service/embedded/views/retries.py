"""The failure of a view, and the pauses before it is retried."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from service.backoff import Backoff
from service.disk_space import is_disk_full

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0  # before a failed view is retried
SPACE_POLL_S = 0.5  # while the disk is full, which ends the pause when it is not any more


class Retries:
    """What failed last, until a success. `has_space` is that of the `Follower` of the view."""

    def __init__(self, view_name: str, first_pause_s: float, has_space: Callable[[], bool]) -> None:
        self.failure: str | None = None
        """The error for which the view can't be updated or saved at present, for the log."""
        self.reason = ""
        """The same for callers, without paths."""
        self._view_name = view_name
        self._has_space = has_space
        self._backoff = Backoff(first_pause_s, max(first_pause_s, LONGEST_PAUSE_S), jitter=False)
        self._count = 0  # since the last success

    def record_failure(self, exc: Exception) -> None:
        if self.failure is None:
            logger.error("%s failed and will be retried", self._view_name, exc_info=exc)
        full = is_disk_full(exc) or not self._has_space()
        self.reason = "there is no space left on the disk" if full else "its files can't be used"
        self.failure = f"{type(exc).__name__}: {exc}"

    def record_success(self) -> None:
        self.failure, self._count = None, 0

    def next_pause_s(self) -> float:
        self._count += 1
        return self._backoff.pause_s(self._count)

    def pause(self, stop: threading.Event) -> None:
        """Wait before a retry. A commit does not shorten it; space on a disk that was full does."""
        end = time.monotonic() + self.next_pause_s()
        was_full = not self._has_space()
        while (left := end - time.monotonic()) > 0:
            if stop.wait(min(left, SPACE_POLL_S)) or (was_full and self._has_space()):
                return
