"""Writes that are finished, even if nobody waits for their end any more.

Knows nothing of what a write does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from service.errors import RequestError, Unavailable

logger = logging.getLogger(__name__)

FINISH_S = 2.0  # how long `close` waits for writes whose callers have gone; the drain came before
CANCEL_GRACE_S = 0.5
Wrote = Callable[[str], Awaitable[None]]
ResultT = TypeVar("ResultT")


class Finishing:
    """The writes that are under way.

    `wrote` is called with the namespace after each of them, however it ended, before its caller
    hears of it; it neither fails nor takes long.
    """

    def __init__(self, wrote: Wrote) -> None:
        self._wrote = wrote
        self._writes: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def to_the_end(self, namespace: str, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Work that goes on to its end even if the one who waits for it is cancelled."""
        if self._closed:
            work.close()
            raise Unavailable("The service is stopping, and takes no more writes")
        task = asyncio.create_task(self._told(namespace, work))
        self._writes.add(task)
        task.add_done_callback(self._on_end)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Take nothing more, and wait for what was begun; but not for ever."""
        self._closed = True
        if not self._writes:
            return
        _, late = await asyncio.wait(self._writes, timeout=FINISH_S)
        if late:
            logger.error("%d writes did not end in time and were given up", len(late))
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=CANCEL_GRACE_S)

    async def _told(self, namespace: str, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Work after which everybody knows that there was some, however it ended."""
        try:
            return await work
        finally:
            await self._wrote(namespace)

    def _on_end(self, task: asyncio.Task[Any]) -> None:
        """What ended in an error may have nobody left to tell it to."""
        self._writes.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, RequestError):
            logger.error("a write failed in a way that nobody foresaw", exc_info=error)
