"""The WebSockets whose clients have not sent a key yet, and how many there may be.

A browser can't send headers with a WebSocket handshake, so a key may come in the first message, the
hello. Until then a connection costs its client nothing. Without a limit, a client without a key
could hold all WebSocket connections that the service takes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from service.access.limiting.addresses import caller_of_address
from service.errors import Overloaded

TIMEOUT_S = 10.0
MAX_PER_CALLER = 32
MAX_TOTAL = 200
RETRY_AFTER_S = 5.0


class PendingHellos:
    """At most `max_per_caller` for a client address, and `max_total` together.

    Beyond the first, the next one is refused. Beyond the second, the one that has waited for the
    longest time is ended.
    """

    def __init__(
        self,
        timeout_s: float = TIMEOUT_S,
        max_per_caller: int = MAX_PER_CALLER,
        max_total: int = MAX_TOTAL,
    ) -> None:
        self._timeout_s = timeout_s
        self._max_per_caller = max_per_caller
        self._max_total = max_total
        self._per_caller: Counter[str] = Counter()
        self._timeouts: dict[asyncio.Timeout, None] = {}  # the longest-waiting one first

    @contextlib.asynccontextmanager
    async def waiting(self, address: str | None) -> AsyncIterator[None]:
        """Wait for a hello in the block, which is ended with `TimeoutError` when it comes too late.

        Raises `Overloaded` if the client has too many connections that wait.
        """
        caller = caller_of_address(address)
        if self._per_caller[caller] >= self._max_per_caller:
            raise Overloaded(
                f"{self._max_per_caller} WebSocket connections of this client have sent no key "
                f"yet, which is the limit; try again in {RETRY_AFTER_S:g} s, or send the key in "
                "the Authorization header",
                retry_after=RETRY_AFTER_S,
            )
        async with asyncio.timeout(self._timeout_s) as timeout:
            self._make_room()
            self._timeouts[timeout] = None
            self._per_caller[caller] += 1
            try:
                yield
            finally:
                self._timeouts.pop(timeout, None)
                self._per_caller[caller] -= 1
                if not self._per_caller[caller]:
                    del self._per_caller[caller]

    def _make_room(self) -> None:
        if len(self._timeouts) >= self._max_total:
            longest = next(iter(self._timeouts))
            del self._timeouts[longest]
            if not longest.expired():
                longest.reschedule(0)
