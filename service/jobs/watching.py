"""Jobs watched from afar: each revision once, to however many watchers.

Knows nothing of how they are told. All watchers of one job read in the same short list of its last
revisions, each at its own place, and one task looks into the database for all of them. What this
process changes itself is told here at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from itertools import islice

from service.errors import JobsUnavailable, NotFound, TooSlow
from service.jobs.job import Job

logger = logging.getLogger(__name__)

REMEMBERED = 200  # revisions: at two in a second, as long as a line may be bad
LOOK_S = 0.5
KEEP_S = 60.0  # after the last watcher has gone: it may come back, and go on


class Channel:
    """The last revisions of one job. Numbers count all that there were."""

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque(maxlen=REMEMBERED)
        self.end = 0
        self.changed = asyncio.Event()
        self.watchers = 0
        self.left_at = 0.0
        self.gone = False  # the job was forgotten

    @property
    def ended(self) -> bool:
        return self.gone or bool(self.jobs and self.jobs[-1].ended)

    def add(self, job: Job) -> None:
        if not self.jobs or job.revision > self.jobs[-1].revision:
            self.jobs.append(job)
            self.end += 1
            self.wake()

    def wake(self) -> None:
        waited, self.changed = self.changed, asyncio.Event()
        waited.set()

    def begin(self, after: int | None) -> int:
        """The number to begin at for one who knows everything up to the revision `after`."""
        if after is None or (self.ended and after >= self.jobs[-1].revision):
            return self.end - 1
        return self.end - sum(job.revision > after for job in self.jobs)

    def get(self, number: int) -> Job | None:
        """The revision with this number; None if it is still to come."""
        if number >= self.end:
            return None
        place = number - (self.end - len(self.jobs))
        if place < 0:
            raise TooSlow(
                f"More than {REMEMBERED} changes of this import were not read; begin again"
            )
        return next(islice(self.jobs, place, None))


class Watching:
    """Who watches what. `read` gives jobs by their ids."""

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Sequence[Job]]]) -> None:
        self._read = read
        self._channels: dict[str, Channel] = {}
        self._looking: asyncio.Task[None] | None = None
        self._ended = False

    @contextlib.asynccontextmanager
    async def watch(
        self, id: str, after: int | None = None, beat_s: float | None = None
    ) -> AsyncIterator[AsyncIterator[Job]]:
        channel = self._channels.get(id)
        if channel is None:
            found = await self._read([id])
            if not found:
                raise NotFound("There is no import with this id")
            channel = self._channels.setdefault(id, Channel())
            channel.add(found[0])
        channel.watchers += 1
        self._look()
        following = self._following(channel, channel.begin(after), beat_s)
        try:
            async with contextlib.aclosing(following):
                yield following
        finally:
            channel.watchers -= 1
            channel.left_at = time.monotonic()

    def tell(self, job: Job) -> None:
        """A job has changed here."""
        if channel := self._channels.get(job.id):
            channel.add(job)

    def end(self) -> None:
        """Every watch ends."""
        self._ended = True
        for channel in self._channels.values():
            channel.wake()

    async def close(self) -> None:
        self.end()
        if self._looking:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _following(
        self, channel: Channel, number: int, beat_s: float | None
    ) -> AsyncGenerator[Job, None]:
        while not self._ended:
            changed = channel.changed
            job = channel.get(number)
            if job is not None:
                number += 1
                yield job
                if job.ended:
                    return
            elif channel.gone:
                return
            elif not await _happens(changed, beat_s):
                yield channel.jobs[-1]

    def _look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        while self._channels:
            await asyncio.sleep(LOOK_S)
            self._forget()
            ids = [id for id, channel in self._channels.items() if not channel.ended]
            if not ids:
                continue
            try:
                found = {job.id: job for job in await self._read(ids)}
            except JobsUnavailable:
                continue  # it was logged; whoever watches goes on waiting
            except Exception:
                logger.exception("imports can't be watched")
                continue
            for id in ids:
                self._found(self._channels[id], found.get(id))

    def _found(self, channel: Channel, job: Job | None) -> None:
        if job is not None:
            channel.add(job)
        else:
            channel.gone = True
            channel.wake()

    def _forget(self) -> None:
        before = time.monotonic() - KEEP_S
        for id, channel in list(self._channels.items()):
            if not channel.watchers and channel.left_at < before:
                del self._channels[id]


async def _happens(changed: asyncio.Event, within_s: float | None) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            return await changed.wait()
    return False
