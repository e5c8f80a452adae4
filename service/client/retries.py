"""Decides whether a request is sent again, and after which delay. It does no I/O.

A search is a read, whatever its method. An upsert of the same records, or a deletion of the same
ids, can be repeated. A call that may have started something, such as an import, is repeated only if
nothing of it was sent. A response of which a part was handed out is never requested again.

504 is final: a second attempt would wait for as long. 502 is final if it has an error code, because
the service has already retried; without one it comes from a proxy in front of a service that is
restarting.
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

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0
RATE_LIMITED, BAD_GATEWAY, UNAVAILABLE = 429, 502, 503


class RetryState:
    """The attempts of one call, which share one timeout."""

    def __init__(
        self,
        retries: int,
        timeout_s: float,
        *,
        is_idempotent: bool,
        clock: Callable[[], float] = time.monotonic,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        self._retries = retries
        self._timeout_s = timeout_s
        self._is_idempotent = is_idempotent
        self._clock = clock
        self._random_fraction = random_fraction
        self._deadline = clock() + timeout_s
        self._failed = 0

    def remaining_s(self) -> float:
        """The time until the deadline; `TimedOut` after it."""
        remaining = self._deadline - self._clock()
        if remaining <= 0:
            raise TimedOut(f"no complete response within {self._timeout_s:g} s")
        return remaining

    def delay_after(self, error: SearchClientError) -> float:
        """The seconds to wait before the next attempt. Raises `error` if it was the last."""
        if self._failed >= self._retries or not is_retryable(error, self._is_idempotent):
            raise error
        delay = backoff_s(self._failed, error, self._random_fraction)
        self._failed += 1
        if delay >= self._deadline - self._clock():
            raise error
        return delay


def is_retryable(error: SearchClientError, is_idempotent: bool) -> bool:
    """Whether another attempt may succeed, and is safe."""
    if isinstance(error, NotConnected):
        return True
    if not is_idempotent:
        return False
    if isinstance(error, ApiError):
        is_from_proxy = error.status == BAD_GATEWAY and not error.code
        return error.status in {RATE_LIMITED, UNAVAILABLE} or is_from_proxy
    return isinstance(error, ConnectionFailed)


def backoff_s(failed: int, error: SearchClientError, random_fraction: Callable[[], float]) -> float:
    """Exponential backoff with jitter, added to the service's `Retry-After`."""
    backoff = min(FIRST_DELAY_S * 2.0**failed, MAX_DELAY_S) * (0.5 + 0.5 * random_fraction())
    retry_after = error.retry_after if isinstance(error, ApiError) else None
    return backoff if retry_after is None else retry_after + backoff * 0.5
