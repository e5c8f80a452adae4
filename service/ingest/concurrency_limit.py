"""A limit on concurrent calls that adapts to the target's rate limit (AIMD).

A rate limit halves the limit and pauses all calls; each round of calls without one raises it by
one, as TCP's congestion window does. So the load finds the rate that the target takes.
"""

from __future__ import annotations

import asyncio

from service.concurrency import wait_until_set


class ConcurrencyLimit:
    """At most `maximum` calls at once, and `start` at first."""

    def __init__(self, maximum: int, start: int | None = None) -> None:
        self._limit = start or maximum
        self._is_yielding = False
        self._maximum = maximum
        self._in_flight = 0
        self._succeeded = 0  # since the limit changed
        self._round = 0  # of rate limits: a call that began in an earlier one counts no more
        self._paused_until = 0.0
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def limit(self) -> int:
        return 1 if self._is_yielding else self._limit

    @property
    def pause_left_s(self) -> float:
        return max(self._paused_until - asyncio.get_running_loop().time(), 0.0)

    async def acquire(self) -> int | None:
        """Wait for a slot. Returns the round for `on_rate_limit`, or None once it is closed."""
        while not self._closed:
            pause_s = self.pause_left_s
            if not pause_s and self._in_flight < self.limit:
                self._in_flight += 1
                return self._round
            self._changed.clear()
            await wait_until_set(self._changed, pause_s or None)
        return None

    def release(self) -> None:
        self._in_flight -= 1
        self._changed.set()

    def on_success(self) -> None:
        """Raise the limit by one for each round of successful calls."""
        self._succeeded += 1
        if self._succeeded >= self._limit:
            self._succeeded = 0
            self._limit = min(self._limit + 1, self._maximum)
            self._changed.set()

    def on_rate_limit(self, round: int, seconds: float) -> None:
        """Halve the limit, once for all calls of a round, and pause."""
        if round == self._round:
            self._round += 1
            self._succeeded = 0
            self._limit = max(self._limit // 2, 1)
        self.pause(seconds)

    def pause(self, seconds: float) -> None:
        """Start no call for so long. The longest of several pauses counts."""
        until = asyncio.get_running_loop().time() + seconds
        self._paused_until = max(self._paused_until, until)

    def yield_for(self, seconds: float) -> None:
        """Pause in favor of other work, and then make one call at a time; 0 ends that."""
        self._is_yielding = seconds > 0
        if self._is_yielding:
            self.pause(seconds)

    def close(self) -> None:
        """Grant no more slots."""
        self._closed = True
        self._changed.set()
