"""Equal work that is wanted at the same time is done once.

The work runs as a task of its own: whoever waits for it can go without taking it from the others.
When the last of them has gone, it is cancelled. On its way it can tell news, which are for whoever
cares, from the first on, whenever they came. Knows nothing of what is done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Hashable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

from service.errors import Unavailable

CLOSE_S = 1.0

NewsT = TypeVar("NewsT")
ResultT = TypeVar("ResultT")
Tell = Callable[[NewsT], None]
Work = Callable[[Tell[NewsT]], Coroutine[Any, Any, ResultT]]


class News(Generic[NewsT]):
    """What has been told so far. The work has this in its hands, so it knows nothing of the work:
    what refers to itself stays in memory until the garbage collector comes by.
    """

    __slots__ = ("_changed", "over", "told")

    def __init__(self) -> None:
        self.told: list[NewsT] = []
        self.over = False
        self._changed = asyncio.Event()

    def tell(self, news: NewsT) -> None:
        self.told.append(news)
        self._change()

    def end(self) -> None:
        self.over = True
        self._change()

    async def more_than(self, heard: int) -> bool:
        """Whether there is more than so many; waits until that is known."""
        while len(self.told) <= heard:
            if self.over:
                return False
            await self._changed.wait()
        return True

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Flight(Generic[NewsT, ResultT]):
    """Work that is under way, what it has told so far, and how many wait for it."""

    __slots__ = ("news", "task", "traceback", "waiting")

    def __init__(self, work: Work[NewsT, ResultT]) -> None:
        self.news: News[NewsT] = News()
        self.task = asyncio.create_task(work(self.news.tell))
        self.traceback: TracebackType | None = None
        self.waiting = 0

    def result(self) -> ResultT:
        """What it came to; each of those who wait raises the error from where it arose."""
        if self.task.cancelled():
            raise Unavailable("The service is stopping; try again shortly")
        error = self.task.exception()
        if error is not None:
            raise error.with_traceback(self.traceback)
        return self.task.result()


class Flights(Generic[NewsT, ResultT]):
    """All the work that is under way, by what it is for."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight[NewsT, ResultT]] = {}
        self._tasks: set[asyncio.Task[ResultT]] = set()

    async def join(self, key: Hashable, work: Work[NewsT, ResultT]) -> tuple[ResultT, bool]:
        """The result of the work, and whether somebody else had begun it."""
        with self.aboard(key, work) as (flight, shared):
            await asyncio.wait((flight.task,))
        return flight.result(), shared

    @contextlib.contextmanager
    def aboard(
        self, key: Hashable, work: Work[NewsT, ResultT]
    ) -> Iterator[tuple[Flight[NewsT, ResultT], bool]]:
        """The work, which goes on for as long as anybody is in this block; and as with `join`."""
        flight = self._flights.get(key)
        shared = flight is not None
        if flight is None:
            flight = self._begin(key, work)
        flight.waiting += 1
        try:
            yield flight, shared
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._remove(key, flight)  # nobody joins what is being given up
                flight.task.cancel()

    async def close(self) -> None:
        """Give up what is under way, and see to it that it ends."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)

    def _begin(self, key: Hashable, work: Work[NewsT, ResultT]) -> Flight[NewsT, ResultT]:
        flight = self._flights[key] = Flight(work)

        def end(task: asyncio.Task[ResultT]) -> None:
            self._tasks.discard(task)
            self._remove(key, flight)
            if not task.cancelled() and (error := task.exception()) is not None:
                flight.traceback = error.__traceback__
            flight.news.end()

        self._tasks.add(flight.task)
        flight.task.add_done_callback(end)
        return flight

    def _remove(self, key: Hashable, flight: Flight[NewsT, ResultT]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
