"""A pool of lanes to one index. A lane is a client with a small connection pool of its own.

A lane is a unit of failure: a fault in the connections of one client stays in its lane, and a
second attempt can use another lane (docs/decisions/0002). A lane carries no more calls than it has
connections; further calls queue here in order of arrival, not inside a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from pinecone.errors import PineconeError

from service.errors import RequestError
from service.indexes.error_mapping import UNTYPED_ERRORS, map_error
from service.logs import redact_query

logger = logging.getLogger(__name__)

MAX_LOGGED_CHARS = 500


class Closable(Protocol):
    async def close(self) -> None: ...


ClientT = TypeVar("ClientT", bound=Closable)
ValueT = TypeVar("ValueT")


class Lane(Generic[ClientT]):
    """One client, and its number of calls in flight."""

    __slots__ = ("client", "in_flight")

    def __init__(self, client: ClientT) -> None:
        self.client = client
        self.in_flight = 0


class LanePool(Generic[ClientT]):
    """`lanes` clients, each of which carries at most `calls` calls at once."""

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
    def is_full(self) -> bool:
        return self._free.locked()

    async def call(
        self,
        operation: Callable[[ClientT], Awaitable[ValueT]],
        *,
        avoid: Lane[ClientT] | None = None,
    ) -> ValueT:
        """Run `operation` on a lane, another one than `avoid` if possible.

        Every failure of the client is raised as a `RequestError`.
        """
        lane = await self.acquire(avoid)
        try:
            return await self.call_on(lane, operation)
        finally:
            self.release(lane)

    async def acquire(self, avoid: Lane[ClientT] | None = None) -> Lane[ClientT]:
        """The lane with the fewest calls in flight, once the pool has room; pair with `release`."""
        await self._free.acquire()
        lanes = self._lanes
        if avoid is not None and len(lanes) > 1:
            lanes = [lane for lane in lanes if lane is not avoid]
        lane = min(lanes, key=_in_flight)
        lane.in_flight += 1
        return lane

    def release(self, lane: Lane[ClientT]) -> None:
        lane.in_flight -= 1
        self._free.release()

    async def call_on(
        self, lane: Lane[ClientT], operation: Callable[[ClientT], Awaitable[ValueT]]
    ) -> ValueT:
        """Run `operation` on a lane that was acquired.

        `operation` should parse the response, too: one that is malformed is then reported as a
        fault of the upstream.
        """
        try:
            return await self._run(lane, operation)
        except RequestError as exc:
            logger.warning("%s: %s", self.name, _for_log(exc.__cause__))
            raise

    async def ping(self, check: Callable[[ClientT], Awaitable[object]]) -> None:
        """Check every lane; the first one alone, so that a failure is reported once."""
        first, *others = self._lanes
        await self._run(first, check)
        await asyncio.gather(*(self._run(lane, check) for lane in others))

    async def close(self) -> None:
        """Close every lane, even if one of them fails to close."""
        lanes, self._lanes = self._lanes, []
        await asyncio.gather(*(self._close(lane) for lane in lanes))

    async def _run(
        self, lane: Lane[ClientT], operation: Callable[[ClientT], Awaitable[ValueT]]
    ) -> ValueT:
        try:
            return await operation(lane.client)
        except (PineconeError, *UNTYPED_ERRORS) as exc:
            raise map_error(exc, self.name) from exc

    async def _close(self, lane: Lane[ClientT]) -> None:
        try:
            await lane.client.close()
        except Exception:
            logger.exception("%s: a lane did not close cleanly", self.name)


def _in_flight(lane: Lane[ClientT]) -> int:
    return lane.in_flight


def _for_log(cause: BaseException | None) -> str:
    """The upstream's error on one line of bounded length, without the query that it may quote."""
    return " ".join(redact_query(f"{type(cause).__name__}: {cause}").split())[:MAX_LOGGED_CHARS]


@contextlib.asynccontextmanager
async def closing(pool: LanePool[ClientT]) -> AsyncIterator[LanePool[ClientT]]:
    """Close the pool at the end of the block."""
    try:
        yield pool
    finally:
        await pool.close()
