"""One import being worked on: from its mark to the end of the file, saved now and then.

Knows neither what the records go to nor where the mark is kept. A batch that was written and not
yet saved is written once more after a crash, with the same ids and the same content.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from service.concurrency import finish
from service.errors import CascadeError, JobsUnavailable, Unavailable
from service.ingest.batches import batches
from service.ingest.flow import Flow
from service.ingest.inputs import Input
from service.ingest.items import Item, Rules
from service.ingest.loading import Load
from service.ingest.reading import GZIP, opened
from service.ingest.sending import TRY_AGAIN, Patience
from service.ingest.stream import Options, parsed
from service.ingest.target import Target
from service.jobs.disk import removed
from service.jobs.job import Job, Status, now
from service.jobs.pace import Pace
from service.jobs.spool import Held
from service.jobs.standing import Standing
from service.jobs.store import Claimed, Progress, Store

logger = logging.getLogger(__name__)

SAVE_S = 0.5
LOOK_S = 1.0  # whether somebody wants it to end, while there is nothing to save
# A larger one keeps the processor for longer at once, and is written no quicker: see pace.py.
BATCH_BYTES, BATCH_RECORDS = 500_000, 100
START = 2  # batches on their way at first
LAST_CALLS_S = 3.0  # how long those in flight may take after a stop
# An upstream that is down is waited for.
PATIENCE = Patience(tries=8, first_s=0.5, longest_s=30.0, lasting_s=900.0, longest_asked_s=900.0)

UNREADABLE = (OSError, EOFError, zlib.error)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it: `queued` is to be gone on with; None, somebody else has ended it."""

    status: Status | None
    detail: str | None = None


class Work:
    """One job that this process has claimed. `tell` is called with each moment that was saved."""

    def __init__(
        self,
        claimed: Claimed,
        held: Held,
        store: Store,
        target: Target,
        *,
        batches_at_once: int,
        pace: Pace,
        tell: Callable[[Job], None],
        patience: Patience = PATIENCE,
    ) -> None:
        self._job = job = claimed.job
        self.id = job.id
        self._plan = job.plan
        self._held = held
        self._store = store
        self._target = target
        self._at_once = batches_at_once
        self._pace = pace
        self._tell = tell
        self._patience = patience
        self._started_at = job.started_at or now()
        self._standing = Standing(claimed)
        self._load: Load | None = None
        self._stopping, self._closing = asyncio.Event(), asyncio.Event()
        self._why: Outcome | None = Outcome("cancelled") if claimed.to_cancel else None

    def stop(self) -> None:
        """The service is stopping: save how far it has come, and leave it to be gone on with."""
        self._closing.set()
        self._stop(Outcome("queued"))

    def cancel(self) -> None:
        """Somebody wants it to end."""
        self._stop(Outcome("cancelled"))

    async def run(self) -> None:
        """Work on it until it has ended, or is stopped. Removes the upload once it has ended."""
        self._tell(self._job)
        saving = asyncio.create_task(self._keep_saving())
        try:
            outcome = await self._outcome()
        finally:
            saving.cancel()
            await asyncio.wait({saving})
        if await self._end(outcome):
            await removed(self._held)

    def _stop(self, why: Outcome) -> None:
        self._why = self._why or why
        self._stopping.set()
        self._standing.meter.stop()
        if self._load:
            self._load.stop()

    async def _outcome(self) -> Outcome:
        trouble: str | None = None
        try:
            if self._why is None and not self._standing.stopped:
                await self._write()
        except CascadeError as exc:
            trouble = self._sentence(exc)
        except UNREADABLE as exc:
            reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            trouble = f"The file can't be read any further: {reason}"
        except Exception:
            logger.exception("import %s ended in a way that nobody foresaw", self.id)
            trouble = "An internal error ended it; the log of the service says more"
        if self._why:
            return self._why
        if trouble is None or self._standing.stopped:
            trouble = self._standing.trouble
        return Outcome("failed" if trouble else "succeeded", trouble)

    async def _write(self) -> None:
        size = await self._batch_size()
        if size is None:
            return
        with self._held.path.open("rb") as file:
            packed = file.read(len(GZIP)) == GZIP
        stops = self._plan.on_error == "stop"
        load = self._load = Load(
            self._target,
            self._plan.namespace,
            report=lambda _: None,
            journal=self._standing,
            begin=self._standing.mark,
            flow=Flow(self._at_once, min(START, self._at_once)),
            pace=self._pace.rest,
            patience=self._patience,
            last_calls_s=LAST_CALLS_S,
            stop_on_error=stops,
            on_stop=self._standing.meter.stop,
        )
        self._standing.begin(packed=packed)
        stream = batches(
            self._items(), min(size, BATCH_RECORDS), max_bytes=BATCH_BYTES, until_fault=stops
        )
        with contextlib.closing(stream):
            await load.run(stream)

    async def _batch_size(self) -> int | None:
        """What the target likes best; it may not be open yet."""
        for tried in count(1):
            try:
                return self._target.batch_size
            except Unavailable:
                if tried > self._patience.tries:
                    raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience.pause(tried, None)):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return None
        return None

    def _items(self) -> Iterator[Item]:
        plan = self._plan
        rules = Rules(
            self._target.text_field, plan.text_field, plan.id_column, plan.flatten, flags=False
        )
        options = Options(rules, plan.delimiter, plan.strings)
        kind = "jsonl" if plan.format == "ndjson" else plan.format
        path = self._held.path
        with opened(path, self._standing.meter) as stream:
            yield from parsed(stream, Input("", "", path, kind), options, self._standing.mark.after)

    async def _keep_saving(self) -> None:
        """Write down how far it has come, and see whether somebody wants it to end."""
        for turn in count():
            await asyncio.sleep(SAVE_S)
            with contextlib.suppress(JobsUnavailable):  # it was logged, and is tried again
                if self._standing.changed:
                    await finish(self._save())  # and told: what was saved is a revision
                elif turn % round(LOOK_S / SAVE_S) == 0:
                    wanted = await self._store.to_cancel(self.id)
                    self._see(wanted)

    async def _save(self) -> None:
        self._standing.changed = False
        try:
            saved = await self._store.save(self.id, self._progress())
        except JobsUnavailable:
            self._standing.changed = True
            raise
        self._see(saved.to_cancel if saved else None)
        if saved:
            self._tell(saved.job)

    def _see(self, to_cancel: bool | None) -> None:
        if to_cancel is None:
            self._stop(Outcome(None))
        elif to_cancel:
            self.cancel()

    async def _end(self, outcome: Outcome) -> bool:
        """Write down how it ended, whenever that can be; whether the upload is done with.

        What somebody else has ended is looked at anew by whoever takes the upload next.
        """
        if outcome.status is None:
            return False
        while True:
            try:
                return await self._write_down(outcome)
            except JobsUnavailable:
                if self._closing.is_set():
                    return False  # it is gone on with from what was saved last
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._closing.wait()

    async def _write_down(self, outcome: Outcome) -> bool:
        assert outcome.status is not None, "somebody else has ended it"  # noqa: S101
        if outcome.status == "queued":
            saved = await self._store.save(self.id, self._progress(), status="queued")
        else:
            finished_at = now()
            progress = self._progress((finished_at - self._started_at).total_seconds())
            saved = await self._store.save(
                self.id,
                progress,
                status=outcome.status,
                detail=outcome.detail,
                finished_at=finished_at,
            )
        if saved:
            self._tell(saved.job)
        return saved is not None and saved.job.ended

    def _progress(self, whole_s: float | None = None) -> Progress:
        return self._standing.progress(self._load.retries if self._load else 0, whole_s)

    def _sentence(self, exc: CascadeError) -> str:
        """Why it failed."""
        if self._load and self._load.stopped_at:
            self._standing.stop_at(self._load.stopped_at)
        elif isinstance(exc, TRY_AGAIN):
            return f"Nothing could be written any more, for long: {exc.detail}"
        return exc.detail
