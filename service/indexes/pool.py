"""A pool: several lanes to one index, each a client with a small connection pool of its own.

Knows nothing of what is asked through it, nor which client its lanes hold.

Why lanes: httpcore walks all of a pool's connections for every request, so 16 clients of a few
connections cost a fraction of the CPU of one client with many (docs/decisions/0002).

Why `calls` and `spare`: a call that is cancelled at the wrong moment leaves its connection behind
in httpcore's pool, neither usable nor closed. So a lane is opened with room for twice the calls
that it admits, and is replaced once so many of its calls were cancelled that the spare half could
be gone. An admitted call therefore never waits for a connection that will not come.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from pinecone.errors import PineconeError

from service.indexes.faults import STRAY, translate

logger = logging.getLogger(__name__)


class Closable(Protocol):
    async def close(self) -> None: ...


ClientT = TypeVar("ClientT", bound=Closable)
AnswerT = TypeVar("AnswerT")


class Lane(Generic[ClientT]):
    """One client, how much it is doing, and how much of its spare room may be lost."""

    __slots__ = ("cancelled", "client", "in_flight")

    def __init__(self, client: ClientT) -> None:
        self.client = client
        self.in_flight = 0
        self.cancelled = 0


class Pool(Generic[ClientT]):
    """Lanes to one index. `calls` is what one lane carries at once; 0 sets no limit."""

    def __init__(
        self, name: str, open_client: Callable[[], ClientT], *, lanes: int, calls: int
    ) -> None:
        self.name = name
        self._open_client = open_client
        self._lanes = [Lane(open_client()) for _ in range(lanes)]
        self._spare = calls or 10  # the client's own pool has 20 connections or more
        self._free = asyncio.Semaphore(lanes * calls) if calls else None
        self._closing: set[asyncio.Task[None]] = set()
        self.replaced = 0

    @property
    def in_flight(self) -> int:
        return sum(lane.in_flight for lane in self._lanes)

    async def call(self, ask: Callable[[ClientT], Awaitable[AnswerT]]) -> AnswerT:
        """Ask the lane with the fewest calls in flight; failures come out as `RequestError`s.

        `ask` should also read the answer: one that can't be read is then a fault of the upstream.
        """
        async with self._free or contextlib.nullcontext():
            lane = min(self._lanes, key=_in_flight)
            return await self._ask(lane, ask)

    async def ping(self, check: Callable[[ClientT], Awaitable[object]]) -> None:
        """Check every lane: the first one alone, so that a failure is met once and not 16 times."""
        first, *others = self._lanes
        await self._ask(first, check)
        await asyncio.gather(*(self._ask(lane, check) for lane in others))

    async def close(self) -> None:
        """Close every lane, whatever the closing of another one does."""
        closing = [*self._closing, *(self._close(lane) for lane in self._lanes)]
        self._lanes = []
        await asyncio.gather(*closing)

    async def _ask(
        self, lane: Lane[ClientT], ask: Callable[[ClientT], Awaitable[AnswerT]]
    ) -> AnswerT:
        lane.in_flight += 1
        try:
            return await ask(lane.client)
        except asyncio.CancelledError:
            lane.cancelled += 1
            raise
        except (PineconeError, *STRAY) as exc:
            raise translate(exc, self.name) from exc
        finally:
            lane.in_flight -= 1
            self._replace_if_worn(lane)

    def _replace_if_worn(self, lane: Lane[ClientT]) -> None:
        """Put a fresh lane in a worn one's place; close the worn one when it is idle."""
        if lane.cancelled < self._spare:
            return
        if lane in self._lanes:
            self._lanes[self._lanes.index(lane)] = Lane(self._open_client())
            self.replaced += 1
        if not lane.in_flight:
            task = asyncio.create_task(self._close(lane), name=f"close a lane of {self.name}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close(self, lane: Lane[ClientT]) -> None:
        try:
            await lane.client.close()
        except Exception:
            logger.exception("%s: a lane did not close cleanly", self.name)


def _in_flight(lane: Lane[ClientT]) -> int:
    return lane.in_flight


@contextlib.asynccontextmanager
async def opened(pool: Pool[ClientT]) -> AsyncIterator[Pool[ClientT]]:
    """Close the pool on the way out."""
    try:
        yield pool
    finally:
        await pool.close()
