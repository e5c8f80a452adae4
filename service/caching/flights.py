"""Equal work that is wanted at the same time is done once.

The work runs as a task of its own: whoever waits for it can go without taking it from the others.
When the last of them has gone, it is cancelled. Knows nothing of what is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from types import TracebackType
from typing import Any, Generic, TypeVar

from service.errors import Unavailable

CLOSE_S = 1.0

ResultT = TypeVar("ResultT")


class _Flight(Generic[ResultT]):
    """Work that is under way, and how many wait for it."""

    __slots__ = ("task", "traceback", "waiting")

    def __init__(self, task: asyncio.Task[ResultT]) -> None:
        self.task = task
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


class Flights(Generic[ResultT]):
    """All the work that is under way, by what it is for."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[ResultT]] = {}
        self._tasks: set[asyncio.Task[ResultT]] = set()

    async def join(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, ResultT]]
    ) -> tuple[ResultT, bool]:
        """The result of the work, and whether somebody else had begun it."""
        flight = self._flights.get(key)
        shared = flight is not None
        if flight is None:
            flight = self._begin(key, work())
        flight.waiting += 1
        try:
            await asyncio.wait((flight.task,))
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._remove(key, flight)  # nobody joins what is being given up
                flight.task.cancel()
        return flight.result(), shared

    async def close(self) -> None:
        """Give up what is under way, and see to it that it ends."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)

    def _begin(self, key: Hashable, work: Coroutine[Any, Any, ResultT]) -> _Flight[ResultT]:
        task = asyncio.create_task(work)
        flight = self._flights[key] = _Flight(task)

        def end(task: asyncio.Task[ResultT]) -> None:
            self._tasks.discard(task)
            self._remove(key, flight)
            if not task.cancelled() and (error := task.exception()) is not None:
                flight.traceback = error.__traceback__

        self._tasks.add(task)
        task.add_done_callback(end)
        return flight

    def _remove(self, key: Hashable, flight: _Flight[ResultT]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
