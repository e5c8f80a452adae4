"""How many batches may be on their way at once, and when none may. Knows nothing of batches.

A rate limit halves the number, and everybody waits for as long as was asked for; each round
without one adds one more. So what the other side can take is found out, again and again.
"""

from __future__ import annotations

import asyncio
import contextlib


class Flow:
    """At most `most` at once; `start` of them at first."""

    def __init__(self, most: int, start: int | None = None) -> None:
        self._limit = start or most
        self._gently = False
        self._most = most
        self._taken = 0
        self._gained = 0
        self._round = 0  # goes up with each rate limit: calls of an earlier one tell nothing new
        self._quiet_until = 0.0
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def limit(self) -> int:
        return 1 if self._gently else self._limit

    @property
    def quiet_s(self) -> float:
        """How long nothing may be sent."""
        return max(self._quiet_until - asyncio.get_running_loop().time(), 0.0)

    async def take(self) -> int | None:
        """Wait for a turn, to be given back with what this returns; None when it is closed."""
        while not self._closed:
            quiet = self.quiet_s
            if not quiet and self._taken < self.limit:
                self._taken += 1
                return self._round
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(quiet or None):
                    await self._changed.wait()
        return None

    def give_back(self) -> None:
        self._taken -= 1
        self._changed.set()

    def went_well(self) -> None:
        """One more for each round that went well."""
        self._gained += 1
        if self._gained >= self._limit:
            self._gained = 0
            self._limit = min(self._limit + 1, self._most)
            self._changed.set()

    def limited(self, round: int, seconds: float) -> None:
        """A call that was begun in this round met a rate limit."""
        if round == self._round:
            self._round += 1
            self._gained = 0
            self._limit = max(self._limit // 2, 1)
        self.pause(seconds)

    def pause(self, seconds: float) -> None:
        """Nothing is sent for so long. Of several pauses at once the longest counts."""
        until = asyncio.get_running_loop().time() + seconds
        self._quiet_until = max(self._quiet_until, until)

    def rest(self, seconds: float) -> None:
        """A pause for the sake of others, after which one is sent at a time; 0 ends that."""
        self._gently = seconds > 0
        if self._gently:
            self.pause(seconds)

    def close(self) -> None:
        """Nobody gets a turn any more."""
        self._closed = True
        self._changed.set()
