"""Event-loop lag: the delay of a task that sleeps for a millisecond."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

EVERY_S = 0.001


class LoopLag:
    """Measures the longest lag during the block as `longest_ms`."""

    def __init__(self) -> None:
        self.longest_ms = 0.0

    async def __aenter__(self) -> LoopLag:
        self._started = asyncio.Event()
        self._sampler = asyncio.create_task(self._sample())
        await self._started.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self._sampler.cancel()
        await asyncio.gather(self._sampler, return_exceptions=True)
        self._look()  # what has blocked the loop until now is not seen by the sampler any more

    async def _sample(self) -> None:
        while True:
            self._slept_at = time.perf_counter()
            self._started.set()
            await asyncio.sleep(EVERY_S)
            self._look()

    def _look(self) -> None:
        late = time.perf_counter() - self._slept_at - EVERY_S
        self.longest_ms = max(self.longest_ms, 1000 * late)
