"""`Jobs`: the imports of an app, while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from service.access.limiting.account import Limits
from service.disk_space import Usage
from service.errors import InvalidField, InvalidRequest, NotFound
from service.ingest.counted_writes import CountedTarget
from service.ingest.target import Target
from service.jobs.async_spool import check_space, create_file, lock_file, remove_file, run_on_disk
from service.jobs.imported_records import ImportedRecords
from service.jobs.job import Job, JobPage, Plan, Status, is_id, new_id
from service.jobs.opener import StoreOpener
from service.jobs.spool import Spool, SpoolFile
from service.jobs.throttle import Throttle
from service.jobs.upload import Upload
from service.jobs.watchers import Watchers
from service.lifecycle import Lifecycle

if TYPE_CHECKING:
    from service.jobs.job_run import JobRun
    from service.jobs.store import Claim
    from service.jobs.worker import Worker

logger = logging.getLogger(__name__)

NO_SUCH = "There is no import with this id"
CANCEL_WAIT_S = 10.0  # how long `cancel` waits until the job has ended
CLOSE_WAIT_S = 12.0  # how long the shutdown waits for the running job


class Jobs:
    """The imports of an app.

    `folder` has the uploads, and the jobs unless `database_url` is that of a PostgreSQL.
    `request_count` returns the number of requests so far: a running import makes room for searches.
    `limits` has the quotas of the keys that have sent the imports.
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
        request_count: Callable[[], int] = lambda: 0,
        disk_usage: Usage = shutil.disk_usage,
        limits: Limits | None = None,
    ) -> None:
        self._spool = Spool(folder, disk_usage)
        self._opener = StoreOpener(self._spool, database_url)
        self._target = target
        self._limits = limits
        self._max_bytes = max_bytes
        self._batches_at_once = batches_at_once
        self._request_count = request_count
        self.imported = ImportedRecords()
        self._watchers = Watchers(self._by_ids)
        self._worker: Worker | None = None
        self._draining = False
        lifecycle.when_draining(self._drain)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Jobs]:
        """Run jobs until the block ends. It waits for a database that is down."""
        running = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            self._drain()
            if self._worker is None:
                running.cancel()
            _, late = await asyncio.wait({running}, timeout=CLOSE_WAIT_S)
            if late:
                logger.error("an import did not stop in time and was abandoned")
                running.cancel()
                await asyncio.wait({running})
            if not running.cancelled() and (error := running.exception()):
                logger.error(
                    "the worker of imports failed with an unexpected error", exc_info=error
                )
            await self._watchers.close()
            await self._opener.close()

    @contextlib.asynccontextmanager
    async def receive(
        self, plan: Plan, expected: int = 0, owner: str = ""
    ) -> AsyncIterator[Upload]:
        """A new upload, removed unless the block commits it.

        Raises `StorageFull` if the disk has no space for `expected` bytes.
        """
        opened = await self._opener.get()
        check = functools.partial(check_space, self._spool)
        await run_on_disk(lambda: check(expected))
        id = new_id()

        async def add_job(size: int) -> Job:
            job = Job(id, plan, "queued", size, owner=owner)
            await opened.store.add(job, opened.node)
            if self._worker:
                self._worker.wake()
            return job

        async with create_file(self._spool, id) as file:
            upload = Upload(file, check, self._max_bytes, add_job)
            try:
                yield upload
            finally:
                await upload.close()

    async def get(self, id: str, owner: str | None = None) -> Job:
        """One job, or `NotFound`, also for that of another owner than the one given."""
        found = await self._by_ids([id])
        if not found or owner not in {None, found[0].owner}:
            raise NotFound(NO_SUCH)
        return found[0]

    async def list(
        self,
        limit: int,
        cursor: str | None,
        status: Status | None = None,
        owner: str | None = None,
    ) -> JobPage:
        """Jobs, newest first; without an owner, those of all."""
        if cursor is not None and not is_id(cursor):
            msg = "is not one that this list has given"
            raise InvalidRequest(f"cursor: {msg}", invalid_fields=[InvalidField(("cursor",), msg)])
        opened = await self._opener.get()
        jobs = await opened.store.page(limit + 1, cursor, status, owner)
        more = jobs[limit - 1].id if len(jobs) > limit else None
        return JobPage(jobs[:limit], more)

    async def counts(self) -> dict[Status, int]:
        """The number of jobs in each state, in all processes."""
        return await (await self._opener.get()).store.counts()

    async def cancel(self, id: str, owner: str | None = None) -> Job:
        """Cancel a job, and wait until it has ended. An ended job does not change."""
        if not is_id(id):
            raise NotFound(NO_SUCH)
        opened = await self._opener.get()
        job = await opened.store.cancel(id, owner)
        if job is None:
            raise NotFound(NO_SUCH)
        async with lock_file(self._spool, id) as file:
            if file is not None:  # no process runs it
                await opened.store.end(id, "cancelled", None)
                await remove_file(file)
            elif self._worker and not job.ended:
                self._worker.cancel(id)
        job = await self.get(id)
        self._watchers.publish(job)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_WAIT_S), self.watch(id) as moments:
                async for job in moments:  # noqa: B007 - the last one is the answer
                    pass
        return job

    def watch(
        self, id: str, after: int | None = None, *, beat_s: float | None = None
    ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Job]]:
        """The revisions of a job: those after `after`, or else the current one, then each new one.

        Ends with the last revision, or when the service stops. Raises `TooSlow` in a watcher that
        has fallen too far behind. With `beat_s`, the last revision is repeated after each so many
        seconds without a change.
        """
        return self._watchers.watch(id, after, beat_s)

    async def _by_ids(self, ids: Sequence[str]) -> Sequence[Job]:
        known = [id for id in ids if is_id(id)]
        return await (await self._opener.get()).store.some(known) if known else []

    async def _run(self) -> None:
        """Open the store, then run the worker and the cleanup."""
        opened = await self._opener.run()
        # Imported late: these modules need SQLAlchemy, which `_opener` imports in a thread.
        from service.jobs.cleanup import Cleanup  # noqa: PLC0415
        from service.jobs.job_run import JobRun  # noqa: PLC0415
        from service.jobs.worker import Worker  # noqa: PLC0415

        def start_run(claim: Claim, file: SpoolFile) -> JobRun:
            return JobRun(
                claim,
                file,
                opened.store,
                self._target_of(claim.job.plan),
                batches_at_once=self._batches_at_once,
                throttle=Throttle(self._request_count),
                publish=self._publish,
            )

        self._worker = Worker(self._spool, opened.store, start_run)
        if self._draining:
            self._worker.stop()
        cleaning = asyncio.create_task(Cleanup(self._spool, opened.store, opened.node).run())
        try:
            await self._worker.run()
        finally:
            cleaning.cancel()
            await asyncio.wait({cleaning})

    def _target_of(self, plan: Plan) -> Target:
        if self._limits is None or plan.records_per_day is None:
            return self._target
        account = self._limits.records_account(plan.key_id, plan.records_per_day)
        return CountedTarget(self._target, account)

    def _publish(self, job: Job) -> None:
        self.imported.add(job)
        self._watchers.publish(job)

    def _drain(self) -> None:
        self._draining = True
        self._watchers.end_all()
        if self._worker:
            self._worker.stop()
