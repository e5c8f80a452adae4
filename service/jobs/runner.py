"""Works off the jobs whose uploads lie on this disk, one at a time, oldest first.

Knows nothing of how a job is worked on. The folder is the queue: whoever locks a file has its job,
and the jobs of a process that was killed are free again at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from service.errors import JobsUnavailable
from service.jobs.disk import removed, taken
from service.jobs.spool import Held, Spool
from service.jobs.store import Claimed, Store
from service.jobs.work import Work

logger = logging.getLogger(__name__)

LOOK_S = 1.0  # for what another process has left
AFTER_TROUBLE_S = 2.0


class Runner:
    """`work_on` makes the work of a job that was claimed."""

    def __init__(
        self, spool: Spool, store: Store, work_on: Callable[[Claimed, Held], Work]
    ) -> None:
        self._spool = spool
        self._store = store
        self._work_on = work_on
        self._work: Work | None = None
        self._wake = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """There is a new job."""
        self._wake.set()

    def stop(self) -> None:
        """Begin nothing more; what is worked on is left where it can be gone on with."""
        self._stopping = True
        self._wake.set()
        if self._work:
            self._work.stop()

    def cancel(self, id: str) -> None:
        """Somebody wants it to end, if it is this one."""
        if self._work and self._work.id == id:
            self._work.cancel()

    async def run(self) -> None:
        """Until it is stopped."""
        while not self._stopping:
            self._wake.clear()
            try:
                if await self._one():
                    continue
                pause = LOOK_S
            except (JobsUnavailable, OSError) as exc:
                logger.info("imports wait: %s", exc)
                pause = AFTER_TROUBLE_S
            except Exception:
                logger.exception("imports are not worked off just now")
                pause = AFTER_TROUBLE_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _one(self) -> bool:
        """Work on the first job that nobody works on; whether there was one."""
        for id in await asyncio.to_thread(self._spool.whole):
            if self._stopping:
                break
            async with taken(self._spool, id) as held:
                if held is not None and await self._claimed(held):
                    return True
        return False

    async def _claimed(self, held: Held) -> bool:
        claimed = await self._store.claim(held.id)
        if claimed is None:
            await removed(held)  # it has ended, and somebody was interrupted
            return False
        self._work = self._work_on(claimed, held)
        if self._stopping:
            self._work.stop()
        try:
            await self._work.run()
        finally:
            self._work = None
        return True
