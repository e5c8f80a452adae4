"""A pool: several lanes to one index, each a client with a small connection pool of its own.

Knows nothing of what is asked through it, nor which client its lanes hold.

A lane is a unit of failure: what goes wrong in one client's connections stays in its lane, and a
second try can go where the first one did not (docs/decisions/0002). No lane carries more calls than
it has connections; who comes when all are busy waits here, in order, and not inside of a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from pinecone.errors import PineconeError

from service.errors import RequestError
from service.indexes.faults import STRAY, translate

logger = logging.getLogger(__name__)


class Closable(Protocol):
    async def close(self) -> None: ...


ClientT = TypeVar("ClientT", bound=Closable)
AnswerT = TypeVar("AnswerT")


class Lane(Generic[ClientT]):
    """One client, and how many calls it is carrying."""

    __slots__ = ("client", "in_flight")

    def __init__(self, client: ClientT) -> None:
        self.client = client
        self.in_flight = 0


class Pool(Generic[ClientT]):
    """Lanes to one index, each of which carries `calls` at once."""

    def __init__(
        self, name: str, open_client: Callable[[], ClientT], *, lanes: int, calls: int
    ) -> None:
        self.name = name
        self._lanes = [Lane(open_client()) for _ in range(lanes)]
        self._free = asyncio.Semaphore(lanes * calls)

    @property
    def in_flight(self) -> int:
        return sum(lane.in_flight for lane in self._lanes)

    @property
    def full(self) -> bool:
        return self._free.locked()

    async def call(
        self,
        ask: Callable[[ClientT], Awaitable[AnswerT]],
        *,
        avoid: Lane[ClientT] | None = None,
    ) -> AnswerT:
        """Ask a free lane; failures come out as `RequestError`s."""
        lane = await self.take(avoid)
        try:
            return await self.on(lane, ask)
        finally:
            self.give_back(lane)

    async def take(self, avoid: Lane[ClientT] | None = None) -> Lane[ClientT]:
        """The lane with the fewest calls in flight, with a place on it, to be given back."""
        await self._free.acquire()
        lanes = self._lanes
        if avoid is not None and len(lanes) > 1:
            lanes = [lane for lane in lanes if lane is not avoid]
        lane = min(lanes, key=_in_flight)
        lane.in_flight += 1
        return lane

    def give_back(self, lane: Lane[ClientT]) -> None:
        lane.in_flight -= 1
        self._free.release()

    async def on(
        self, lane: Lane[ClientT], ask: Callable[[ClientT], Awaitable[AnswerT]]
    ) -> AnswerT:
        """Ask a lane that was taken.

        `ask` should also read the answer: one that can't be read is then a fault of the upstream.
        """
        try:
            return await self._ask(lane, ask)
        except RequestError as exc:
            logger.warning("%s: %s", self.name, _words(exc.__cause__))
            raise

    async def ping(self, check: Callable[[ClientT], Awaitable[object]]) -> None:
        """Check every lane: the first one alone, so that a failure is met once and not 16 times."""
        first, *others = self._lanes
        await self._ask(first, check)
        await asyncio.gather(*(self._ask(lane, check) for lane in others))

    async def close(self) -> None:
        """Close every lane, whatever the closing of another one does."""
        lanes, self._lanes = self._lanes, []
        await asyncio.gather(*(self._close(lane) for lane in lanes))

    async def _ask(
        self, lane: Lane[ClientT], ask: Callable[[ClientT], Awaitable[AnswerT]]
    ) -> AnswerT:
        try:
            return await ask(lane.client)
        except (PineconeError, *STRAY) as exc:
            raise translate(exc, self.name) from exc

    async def _close(self, lane: Lane[ClientT]) -> None:
        try:
            await lane.client.close()
        except Exception:
            logger.exception("%s: a lane did not close cleanly", self.name)


def _in_flight(lane: Lane[ClientT]) -> int:
    return lane.in_flight


def _words(cause: BaseException | None) -> str:
    """What the upstream said, on one line of bounded length: it is for the log."""
    return " ".join(f"{type(cause).__name__}: {cause}".split())[:500]


@contextlib.asynccontextmanager
async def opened(pool: Pool[ClientT]) -> AsyncIterator[Pool[ClientT]]:
    """Close the pool on the way out."""
    try:
        yield pool
    finally:
        await pool.close()
