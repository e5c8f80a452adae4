"""Watchers of jobs: each gets every revision of its job once.

The watchers of one job share a channel, which keeps the last revisions; each reads at its own
position. One task polls the database for all channels. Changes by this process are published at
once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from itertools import islice

from service.concurrency import wait_until_set
from service.errors import JobsUnavailable, NotFound, TooSlow
from service.jobs.job import Job

logger = logging.getLogger(__name__)

MAX_REVISIONS = 200  # per job: 100 s at two revisions per second
POLL_S = 0.5
KEEP_CHANNEL_S = 60.0  # after the last watcher left, so that it can reconnect


class JobChannel:
    """The last revisions of one job. A position counts all revisions since the channel began."""

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque(maxlen=MAX_REVISIONS)
        self.end = 0
        self.changed = asyncio.Event()
        self.watchers = 0
        self.last_watched_at = 0.0
        self.is_deleted = False

    @property
    def ended(self) -> bool:
        return self.is_deleted or bool(self.jobs and self.jobs[-1].ended)

    def add(self, job: Job) -> None:
        if not self.jobs or job.revision > self.jobs[-1].revision:
            self.jobs.append(job)
            self.end += 1
            self.notify()

    def notify(self) -> None:
        waited, self.changed = self.changed, asyncio.Event()
        waited.set()

    def position_after(self, after: int | None) -> int:
        """The position for a watcher that has seen the revisions up to `after`."""
        if after is None or (self.ended and after >= self.jobs[-1].revision):
            return self.end - 1
        return self.end - sum(job.revision > after for job in self.jobs)

    def get(self, position: int) -> Job | None:
        """The revision at this position, or None before there is one."""
        if position >= self.end:
            return None
        index = position - (self.end - len(self.jobs))
        if index < 0:
            raise TooSlow(
                f"More than {MAX_REVISIONS} changes of this import were not read; connect again"
            )
        return next(islice(self.jobs, index, None))


class Watchers:
    """The channels of all jobs that are watched. `read` returns jobs by their ids."""

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Sequence[Job]]]) -> None:
        self._read = read
        self._channels: dict[str, JobChannel] = {}
        self._polling: asyncio.Task[None] | None = None
        self._is_ended = False

    @contextlib.asynccontextmanager
    async def watch(
        self, id: str, after: int | None = None, beat_s: float | None = None
    ) -> AsyncIterator[AsyncIterator[Job]]:
        channel = self._channels.get(id)
        if channel is None:
            found = await self._read([id])
            if not found:
                raise NotFound("There is no import with this id")
            channel = self._channels.setdefault(id, JobChannel())
            channel.add(found[0])
        channel.watchers += 1
        self._start_polling()
        revisions = self._revisions(channel, channel.position_after(after), beat_s)
        try:
            async with contextlib.aclosing(revisions):
                yield revisions
        finally:
            channel.watchers -= 1
            channel.last_watched_at = time.monotonic()

    def publish(self, job: Job) -> None:
        """Publish a job that this process has changed."""
        if channel := self._channels.get(job.id):
            channel.add(job)

    def end_all(self) -> None:
        """End every watch."""
        self._is_ended = True
        for channel in self._channels.values():
            channel.notify()

    async def close(self) -> None:
        self.end_all()
        if self._polling:
            self._polling.cancel()
            await asyncio.wait({self._polling})

    async def _revisions(
        self, channel: JobChannel, position: int, beat_s: float | None
    ) -> AsyncGenerator[Job, None]:
        while not self._is_ended:
            changed = channel.changed
            job = channel.get(position)
            if job is not None:
                position += 1
                yield job
                if job.ended:
                    return
            elif channel.is_deleted:
                return
            elif not await wait_until_set(changed, beat_s):
                yield channel.jobs[-1]

    def _start_polling(self) -> None:
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._keep_polling())

    async def _keep_polling(self) -> None:
        while self._channels:
            await asyncio.sleep(POLL_S)
            self._drop_unwatched()
            ids = [id for id, channel in self._channels.items() if not channel.ended]
            if not ids:
                continue
            try:
                found = {job.id: job for job in await self._read(ids)}
            except JobsUnavailable:
                continue  # it was logged; the watchers wait
            except Exception:
                logger.exception("can't read the imports that are watched")
                continue
            for id in ids:
                self._update(self._channels[id], found.get(id))

    def _update(self, channel: JobChannel, job: Job | None) -> None:
        if job is not None:
            channel.add(job)
        else:
            channel.is_deleted = True
            channel.notify()

    def _drop_unwatched(self) -> None:
        before = time.monotonic() - KEEP_CHANNEL_S
        for id, channel in list(self._channels.items()):
            if not channel.watchers and channel.last_watched_at < before:
                del self._channels[id]
