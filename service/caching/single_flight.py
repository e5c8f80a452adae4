"""Single-flight: concurrent calls with equal keys share one execution.

The work runs in a task of its own, so a caller that is cancelled does not take it from the others;
when the last caller has left, the task is cancelled. The work can publish events on its way. Each
subscriber gets all of them from the first on, whenever it joined.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Hashable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

from service.errors import Unavailable

CLOSE_TIMEOUT_S = 1.0

EventT = TypeVar("EventT")
ResultT = TypeVar("ResultT")
Publish = Callable[[EventT], None]
Work = Callable[[Publish[EventT]], Coroutine[Any, Any, ResultT]]


class EventLog(Generic[EventT]):
    """The events published so far.

    It is apart from `SharedCall`, because the work holds a reference to it: a reference cycle with
    the task would stay in memory until the garbage collector runs.
    """

    __slots__ = ("_changed", "events", "is_closed")

    def __init__(self) -> None:
        self.events: list[EventT] = []
        self.is_closed = False
        self._changed = asyncio.Event()

    def publish(self, event: EventT) -> None:
        self.events.append(event)
        self._wake_subscribers()

    def close(self) -> None:
        self.is_closed = True
        self._wake_subscribers()

    async def wait_for_more(self, count: int) -> bool:
        """Wait until there are more than `count` events; False if the log is closed first."""
        while len(self.events) <= count:
            if self.is_closed:
                return False
            await self._changed.wait()
        return True

    def _wake_subscribers(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class SharedCall(Generic[EventT, ResultT]):
    """One execution, its events, and the number of callers that wait for it."""

    __slots__ = ("callers", "log", "task", "traceback")

    def __init__(self, work: Work[EventT, ResultT]) -> None:
        self.log: EventLog[EventT] = EventLog()
        self.task = asyncio.create_task(work(self.log.publish))
        self.traceback: TracebackType | None = None
        self.callers = 0

    def result(self) -> ResultT:
        """The result of the finished task; each caller raises the error with its own traceback."""
        if self.task.cancelled():
            raise Unavailable("The service is stopping; try again shortly")
        error = self.task.exception()
        if error is not None:
            raise error.with_traceback(self.traceback)
        return self.task.result()


class SingleFlight(Generic[EventT, ResultT]):
    """The executions in progress, by key."""

    def __init__(self) -> None:
        self._calls: dict[Hashable, SharedCall[EventT, ResultT]] = {}
        self._tasks: set[asyncio.Task[ResultT]] = set()

    async def run(self, key: Hashable, work: Work[EventT, ResultT]) -> tuple[ResultT, bool]:
        """Returns the result, and whether another caller had started the work."""
        with self.join(key, work) as (call, is_shared):
            await asyncio.wait((call.task,))
        return call.result(), is_shared

    @contextlib.contextmanager
    def join(
        self, key: Hashable, work: Work[EventT, ResultT]
    ) -> Iterator[tuple[SharedCall[EventT, ResultT], bool]]:
        """Join the execution for `key`, or start it; leaves it at the end of the block."""
        call = self._calls.get(key)
        is_shared = call is not None
        if call is None:
            call = self._start(key, work)
        call.callers += 1
        try:
            yield call, is_shared
        finally:
            call.callers -= 1
            if not call.callers and not call.task.done():
                self._remove(key, call)  # a cancelled call must not be joined
                call.task.cancel()

    async def close(self) -> None:
        """Cancel every execution, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)

    def _start(self, key: Hashable, work: Work[EventT, ResultT]) -> SharedCall[EventT, ResultT]:
        call = self._calls[key] = SharedCall(work)

        def on_done(task: asyncio.Task[ResultT]) -> None:
            self._tasks.discard(task)
            self._remove(key, call)
            if not task.cancelled() and (error := task.exception()) is not None:
                call.traceback = error.__traceback__
            call.log.close()

        self._tasks.add(call.task)
        call.task.add_done_callback(on_done)
        return call

    def _remove(self, key: Hashable, call: SharedCall[EventT, ResultT]) -> None:
        if self._calls.get(key) is call:
            del self._calls[key]
