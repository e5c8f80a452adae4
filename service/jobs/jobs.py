"""The imports of an app, while it is open. Knows no HTTP, nor what the records are written to."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import InvalidField, InvalidRequest, NotFound
from service.ingest.target import Target
from service.jobs.disk import begun, check_space, on_disk, removed, taken
from service.jobs.job import Job, JobPage, Plan, Status, is_id, new_id, now
from service.jobs.opening import Opened, Opening
from service.jobs.pace import Pace
from service.jobs.spool import Held, Spool, Usage
from service.jobs.upload import Upload
from service.jobs.watching import Watching
from service.lifecycle import Lifecycle

if TYPE_CHECKING:
    from service.jobs.runner import Runner
    from service.jobs.store import Claimed
    from service.jobs.work import Work

__all__ = ["Jobs", "Upload"]

logger = logging.getLogger(__name__)

NO_SUCH = "There is no import with this id"
CANCEL_S = 10.0  # how long a cancel waits for the end
CLOSE_S = 12.0  # and the end of the service for what is worked on


class Jobs:
    """The imports of an app.

    `folder` is where uploads lie, and the jobs, unless `database_url` names a PostgreSQL. `begun`
    counts the requests that the service has been asked so far: an import makes room for them.
    `disk_usage` tells how full the disk is.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str | None,
        target: Target,
        lifecycle: Lifecycle,
        *,
        max_bytes: int,
        batches_at_once: int,
        begun: Callable[[], int] = lambda: 0,
        disk_usage: Usage = shutil.disk_usage,
    ) -> None:
        self._spool = Spool(folder, disk_usage)
        self._opening = Opening(self._spool, database_url)
        self._target = target
        self._max_bytes = max_bytes
        self._batches_at_once = batches_at_once
        self._begun = begun
        self._watching = Watching(self._some)
        self._runner: Runner | None = None
        self._draining = False
        lifecycle.when_draining(self._drain)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Jobs]:
        """Work off what is there, until the block ends. A database that is down is waited for."""
        living = asyncio.create_task(self._live())
        try:
            yield self
        finally:
            self._drain()
            if self._runner is None:
                living.cancel()
            _, late = await asyncio.wait({living}, timeout=CLOSE_S)
            if late:
                logger.error("an import did not stop in time and was given up")
                living.cancel()
                await asyncio.wait({living})
            if not living.cancelled() and (error := living.exception()):
                logger.error("imports ended in a way that nobody foresaw", exc_info=error)
            await self._watching.close()
            await self._opening.close()

    @contextlib.asynccontextmanager
    async def receive(self, plan: Plan, expected: int = 0) -> AsyncIterator[Upload]:
        """A file of its own for an upload; gone if the block is left without `keep`.

        Refused at once where the disk has no space for as many bytes as are expected.
        """
        opened = await self._opening.get()
        room_for = functools.partial(check_space, self._spool)
        await on_disk(lambda: room_for(expected))
        id = new_id()

        async def entered(size: int) -> Job:
            job = _made(id, plan, size)
            await opened.store.add(job, opened.node)
            if self._runner:
                self._runner.wake()
            return job

        async with begun(self._spool, id) as held:
            upload = Upload(held, room_for, self._max_bytes, entered)
            try:
                yield upload
            finally:
                await upload.close()

    async def get(self, id: str) -> Job:
        """One job; `NotFound` where there is none."""
        found = await self._some([id])
        if not found:
            raise NotFound(NO_SUCH)
        return found[0]

    async def list(self, limit: int, cursor: str | None, status: Status | None = None) -> JobPage:
        """Jobs, newest first."""
        if cursor is not None and not is_id(cursor):
            msg = "is not one that this list has given"
            raise InvalidRequest(f"cursor: {msg}", invalid_fields=[InvalidField(("cursor",), msg)])
        opened = await self._opening.get()
        jobs = await opened.store.page(limit + 1, cursor, status)
        more = jobs[limit - 1].id if len(jobs) > limit else None
        return JobPage(jobs[:limit], more)

    async def cancel(self, id: str) -> Job:
        """Stop it for good, and wait a while for that; one that has ended stays as it is."""
        if not is_id(id):
            raise NotFound(NO_SUCH)
        opened = await self._opening.get()
        job = await opened.store.cancel(id)
        if job is None:
            raise NotFound(NO_SUCH)
        return await self._cancelled(opened, job)

    def watch(
        self, id: str, after: int | None = None, *, beat_s: float | None = None
    ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Job]]:
        """The job's revisions as they come: those after `after` that are remembered, else the
        present one, then each new one. Ends after the last one (which is always given), and when
        the service is stopping; raises `TooSlow` in whoever has fallen too far behind. With
        `beat_s`, the last one comes again after each so many seconds in which nothing has changed.
        """
        return self._watching.watch(id, after, beat_s)

    async def _some(self, ids: Sequence[str]) -> Sequence[Job]:
        known = [id for id in ids if is_id(id)]
        return await (await self._opening.get()).store.some(known) if known else []

    async def _cancelled(self, opened: Opened, job: Job) -> Job:
        """One that nobody works on ends here; of one that somebody does, the end is waited for."""
        async with taken(self._spool, job.id) as held:
            if held is not None:
                await opened.store.end(job.id, "cancelled", None)
                await removed(held)
            elif self._runner and not job.ended:
                self._runner.cancel(job.id)
        job = await self.get(job.id)
        self._watching.tell(job)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_S), self.watch(job.id) as moments:
                async for job in moments:  # noqa: B007 - the last one is the answer
                    pass
        return job

    async def _live(self) -> None:
        """What goes on while it is open."""
        opened = await self._opening.run()
        # With what was opened their modules have been imported, or most of them.
        from service.jobs.runner import Runner  # noqa: PLC0415
        from service.jobs.sweeping import Sweeper  # noqa: PLC0415
        from service.jobs.work import Work  # noqa: PLC0415

        def work_on(claimed: Claimed, held: Held) -> Work:
            return Work(
                claimed,
                held,
                opened.store,
                self._target,
                batches_at_once=self._batches_at_once,
                pace=Pace(self._begun),
                tell=self._watching.tell,
            )

        self._runner = Runner(self._spool, opened.store, work_on)
        if self._draining:
            self._runner.stop()
        sweeping = asyncio.create_task(Sweeper(self._spool, opened.store, opened.node).run())
        try:
            await self._runner.run()
        finally:
            sweeping.cancel()
            await asyncio.wait({sweeping})

    def _drain(self) -> None:
        self._draining = True
        self._watching.end()
        if self._runner:
            self._runner.stop()


def _made(id: str, plan: Plan, size: int) -> Job:
    return Job(
        id=id,
        plan=plan,
        status="queued",
        bytes=size,
        bytes_read=0,
        written=0,
        failed=0,
        retries=0,
        errors=(),
        detail=None,
        revision=1,
        created_at=now(),
        started_at=None,
        finished_at=None,
        rate=0.0,
        eta_s=None,
    )
