"""When a request is made again, and after how long. Knows neither wires nor how to wait.

A search is a read, whichever method it has. An upsert with the same ids and the same records is
the same as one, and so is deleting ids twice. What may have begun something of its own, such as an
import, is made again only if nothing of it was ever sent. An answer of which a part was handed out
is never asked for again. 504 is an answer: who has waited that long once would do so again. 502 is
one too, if the service says it, which has tried again itself; from a proxy it means that the
service is not there just now.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from service.client.errors import (
    ApiError,
    ConnectionFailed,
    NotConnected,
    SearchClientError,
    TimedOut,
)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
RATE_LIMITED, BAD_GATEWAY, UNAVAILABLE = 429, 502, 503


class Tries:
    """All tries of one call, within one time."""

    def __init__(
        self,
        retries: int,
        timeout: float,
        *,
        repeatable: bool,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._retries = retries
        self._timeout = timeout
        self._repeatable = repeatable
        self._clock = clock
        self._chance = chance
        self._end = clock() + timeout
        self._failed = 0

    def left(self) -> float:
        """How much time there is."""
        left = self._end - self._clock()
        if left <= 0:
            raise TimedOut(f"There was no whole answer within {self._timeout:g} s")
        return left

    def pause_after(self, error: SearchClientError) -> float:
        """How long to wait before the next try; `error` again, where there is to be none."""
        if self._failed >= self._retries or not may_repeat(error, repeatable=self._repeatable):
            raise error
        pause = pause_before(self._failed, error, self._chance)
        self._failed += 1
        if pause >= self._end - self._clock():
            raise error
        return pause


def may_repeat(error: SearchClientError, *, repeatable: bool) -> bool:
    """Whether another try can help, and can do no harm."""
    if isinstance(error, NotConnected):
        return True
    if not repeatable:
        return False
    if isinstance(error, ApiError):
        from_a_proxy = error.status == BAD_GATEWAY and not error.code
        return error.status in {RATE_LIMITED, UNAVAILABLE} or from_a_proxy
    return isinstance(error, ConnectionFailed)


def pause_before(failed: int, error: SearchClientError, chance: Callable[[], float]) -> float:
    """Longer each time, and never the same for all who wait; not before the service says."""
    backoff = min(FIRST_PAUSE_S * 2.0**failed, LONGEST_PAUSE_S) * (0.5 + 0.5 * chance())
    asked = error.retry_after if isinstance(error, ApiError) else None
    return backoff if asked is None else asked + backoff * 0.5
