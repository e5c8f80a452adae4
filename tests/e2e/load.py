"""A steady load: clients that send one request after another, and count the outcomes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import httpx

PATH = "/api/semantic-search?text_query=the+warm+cat"


class Load:
    """Counts statuses, refused connections and exceptions."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.stopped = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def dropped(self) -> dict[str, int]:
        """The requests that were sent and not answered with 200."""
        return {
            name: count for name, count in self.outcomes.items() if name not in {"200", "refused"}
        }

    def count(self, outcome: str) -> None:
        self.outcomes[outcome] += 1
        self._changed.set()

    async def until(self, outcome: str, count: int) -> None:
        """Wait until an outcome was counted `count` times."""
        while self.outcomes[outcome] < count:
            self._changed.clear()
            await self._changed.wait()


@contextlib.asynccontextmanager
async def load(address: str, clients: int, *, keep_alive: bool = True) -> AsyncIterator[Load]:
    """Keep `address` under load during the block."""
    running = Load()
    tasks = [asyncio.create_task(_client(address, running, keep_alive)) for _ in range(clients)]
    try:
        yield running
    finally:
        running.stopped.set()
        await asyncio.gather(*tasks)


async def _client(address: str, load: Load, keep_alive: bool) -> None:
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1 if keep_alive else 0)
    headers = {} if keep_alive else {"Connection": "close"}
    async with httpx.AsyncClient(base_url=address, limits=limits, headers=headers) as client:
        while not load.stopped.is_set():
            try:
                response = await client.get(PATH, timeout=60)
                load.count(str(response.status_code))
            except httpx.ConnectError:
                load.count("refused")  # nothing was sent, so no request is lost
                await asyncio.sleep(0.01)
            except httpx.HTTPError as exc:
                load.count(type(exc).__name__)
