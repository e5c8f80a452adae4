"""Waiting, and work that must finish although the task that waits for it is cancelled.

A thread cannot be cancelled, and a write must not be cut in half: a client that disconnects cancels
its handler, but not what the handler has begun. `finish` keeps the caller waiting until the work is
done. `DetachedTasks` lets the caller go at once and keeps the work for `join`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


async def finish(
    work: Awaitable[ResultT], undo: Callable[[ResultT], Awaitable[object]] | None = None
) -> ResultT:
    """Await `work` to its end; cancellation is raised only after that.

    `undo` takes back a result that the cancelled caller never receives, such as an open file.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        succeeded = not task.cancelled() and task.exception() is None
        if succeeded and undo is not None:
            await finish(undo(task.result()))
        raise


async def wait_until_set(event: asyncio.Event, timeout_s: float | None) -> bool:
    """Wait for an event, with a timeout if there is one; returns whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    return event.is_set()


class DetachedTasks:
    """Tasks that run to their end even if their callers are cancelled.

    `on_error` receives the error of each task that fails, whether or not a caller is left.
    """

    def __init__(self, on_error: Callable[[BaseException], None] = lambda _: None) -> None:
        self._on_error = on_error
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Start `work` and await its result; cancelling this call does not cancel the work."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return await asyncio.shield(task)

    async def join(self, timeout_s: float | None = None) -> set[asyncio.Task[Any]]:
        """Wait for the tasks that were started; returns those that are still running."""
        if not self._tasks:
            return set()
        _, running = await asyncio.wait(self._tasks, timeout=timeout_s)
        return running

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(error)
