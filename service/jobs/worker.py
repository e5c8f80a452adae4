"""`Worker`: claims the jobs whose uploads are on this disk, oldest first, and runs one at a time.

The folder of uploads is the queue. A process that locks a file owns its job; when the process dies
the lock ends, and the job can be claimed again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from service.concurrency import wait_until_set
from service.errors import JobsUnavailable
from service.jobs.async_spool import lock_file, remove_file
from service.jobs.job_run import JobRun
from service.jobs.spool import Spool, SpoolFile
from service.jobs.store import Claim, Store

logger = logging.getLogger(__name__)

POLL_S = 1.0  # for jobs that another process left
ERROR_PAUSE_S = 2.0


class Worker:
    """`start_run` creates the run of a claimed job."""

    def __init__(
        self, spool: Spool, store: Store, start_run: Callable[[Claim, SpoolFile], JobRun]
    ) -> None:
        self._spool = spool
        self._store = store
        self._start_run = start_run
        self._run: JobRun | None = None
        self._wake = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Look for a new job."""
        self._wake.set()

    def stop(self) -> None:
        """Start no more jobs. The running one is saved and stays queued."""
        self._stopping = True
        self._wake.set()
        if self._run:
            self._run.stop()

    def cancel(self, id: str) -> None:
        """Cancel the job, if it is the running one."""
        if self._run and self._run.id == id:
            self._run.cancel()

    async def run(self) -> None:
        """Run jobs until the worker is stopped."""
        while not self._stopping:
            self._wake.clear()
            try:
                if await self._run_next():
                    continue
                pause = POLL_S
            except (JobsUnavailable, OSError) as exc:
                logger.info("imports are waiting: %s", exc)
                pause = ERROR_PAUSE_S
            except Exception:
                logger.exception("the worker of imports failed")
                pause = ERROR_PAUSE_S
            await wait_until_set(self._wake, pause)

    async def _run_next(self) -> bool:
        """Run the first job that no process runs. Returns whether there was one."""
        for id in await asyncio.to_thread(self._spool.uploaded):
            if self._stopping:
                break
            async with lock_file(self._spool, id) as file:
                if file is not None and await self._run_claimed(file):
                    return True
        return False

    async def _run_claimed(self, file: SpoolFile) -> bool:
        claim = await self._store.claim(file.id)
        if claim is None:
            await remove_file(file)  # it has ended, but its process did not remove the file
            return False
        self._run = self._start_run(claim, file)
        if self._stopping:
            self._run.stop()
        try:
            await self._run.run()
        finally:
            self._run = None
        return True
