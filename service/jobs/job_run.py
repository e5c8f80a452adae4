"""`JobRun`: one run of one job, from its checkpoint to the end of the file.

The checkpoint is saved periodically. After a crash, the batches since then are written once more,
with the same ids and content.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from service.concurrency import finish, wait_until_set
from service.errors import CascadeError, JobsUnavailable, Unavailable
from service.ingest.batch_writer import TRANSIENT, RetryPolicy
from service.ingest.batches import batches
from service.ingest.concurrency_limit import ConcurrencyLimit
from service.ingest.inputs import TEXT_FORMATS, Input
from service.ingest.load import Load
from service.ingest.parsing import ParseOptions, parse_input
from service.ingest.reading import GZIP, UNREADABLE, open_input
from service.ingest.record import Item, RecordMapping
from service.ingest.target import Target
from service.jobs.async_spool import remove_file
from service.jobs.job import Job, Status, now
from service.jobs.spool import SpoolFile
from service.jobs.state import JobState
from service.jobs.store import Claim, SavedProgress, Store
from service.jobs.throttle import Throttle

logger = logging.getLogger(__name__)

SAVE_INTERVAL_S = 0.5
CANCEL_POLL_S = 1.0  # while there is nothing to save
# A larger batch holds the processor longer, and is not written faster: see throttle.py.
BATCH_BYTES, BATCH_RECORDS = 500_000, 100
START_CONCURRENCY = 2
STOP_GRACE_S = 3.0  # for the batches in flight after a stop
# The run waits for an upstream that is down.
RETRY_POLICY = RetryPolicy(
    attempts=8, first_s=0.5, longest_s=30.0, outage_s=900.0, max_retry_after_s=900.0
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `queued`: to be resumed. None: another process has ended the job."""

    status: Status | None
    detail: str | None = None


class JobRun:
    """One run of a claimed job. `publish` is called with each revision that was saved."""

    def __init__(
        self,
        claim: Claim,
        file: SpoolFile,
        store: Store,
        target: Target,
        *,
        batches_at_once: int,
        throttle: Throttle,
        publish: Callable[[Job], None],
    ) -> None:
        self._job = job = claim.job
        self.id = job.id
        self._plan = job.plan
        self._file = file
        self._store = store
        self._target = target
        self._concurrency = batches_at_once
        self._throttle = throttle
        self._publish = publish
        self._started_at = job.started_at or now()
        self._state = JobState(claim)
        self._load: Load | None = None
        self._stopping, self._closing = asyncio.Event(), asyncio.Event()
        self._requested_outcome: Outcome | None = Outcome("cancelled") if claim.to_cancel else None

    def stop(self) -> None:
        """The service is stopping: save the checkpoint, and leave the job queued."""
        self._closing.set()
        self._stop(Outcome("queued"))

    def cancel(self) -> None:
        """A client has canceled the job."""
        self._stop(Outcome("cancelled"))

    async def run(self) -> None:
        """Run until the job has ended, or the run is stopped. Removes an ended job's upload."""
        self._publish(self._job)
        saving = asyncio.create_task(self._save_periodically())
        try:
            outcome = await self._outcome()
        finally:
            saving.cancel()
            await asyncio.wait({saving})
        if await self._end(outcome):
            await remove_file(self._file)

    def _stop(self, outcome: Outcome) -> None:
        self._requested_outcome = self._requested_outcome or outcome
        self._stopping.set()
        self._state.meter.stop()
        if self._load:
            self._load.stop()

    async def _outcome(self) -> Outcome:
        failure: str | None = None
        try:
            if self._requested_outcome is None and not self._state.is_stopped:
                await self._write()
        except CascadeError as exc:
            failure = self._failure_detail(exc)
        except UNREADABLE as exc:
            reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            failure = f"The file can't be read any further: {reason}"
        except Exception:
            logger.exception("import %s failed with an unexpected error", self.id)
            failure = "An internal error ended it; the log of the service says more"
        if self._requested_outcome:
            return self._requested_outcome
        if failure is None or self._state.is_stopped:
            failure = self._state.failure
        return Outcome("failed" if failure else "succeeded", failure)

    async def _write(self) -> None:
        size = await self._batch_size()
        if size is None:
            return
        with self._file.path.open("rb") as file:
            is_compressed = file.read(len(GZIP)) == GZIP
        stops = self._plan.on_error == "stop"
        load = self._load = Load(
            self._target,
            self._plan.namespace,
            report=lambda _: None,
            checkpoints=self._state,
            start=self._state.checkpoint,
            limit=ConcurrencyLimit(self._concurrency, min(START_CONCURRENCY, self._concurrency)),
            pause_after=self._throttle.pause_after,
            retry_policy=RETRY_POLICY,
            stop_grace_s=STOP_GRACE_S,
            stop_on_error=stops,
            on_stop=self._state.meter.stop,
        )
        has_positions = not is_compressed and self._plan.format not in TEXT_FORMATS
        self._state.start(has_positions=has_positions)
        stream = batches(
            self._items(), min(size, BATCH_RECORDS), max_bytes=BATCH_BYTES, until_error=stops
        )
        with contextlib.closing(stream):
            await load.run(stream)

    async def _batch_size(self) -> int | None:
        """The target's preferred batch size; waits until the target is open."""
        for tried in count(1):
            try:
                return self._target.batch_size
            except Unavailable:
                if tried > RETRY_POLICY.attempts:
                    raise
            if await wait_until_set(self._stopping, RETRY_POLICY.pause_s(tried, None)):
                return None
        return None

    def _items(self) -> Iterator[Item]:
        plan = self._plan
        rules = RecordMapping(
            self._target.text_field,
            plan.text_field,
            plan.id_column,
            plan.flatten,
            flags=False,
            text_template=plan.text_template,
            split=plan.split,
            only_namespace=plan.namespace if plan.only_namespace else None,
        )
        options = ParseOptions(rules, plan.delimiter, plan.strings, plan.encoding)
        kind = "jsonl" if plan.format == "ndjson" else plan.format
        path = self._file.path
        with open_input(path, self._state.meter) as stream:
            yield from parse_input(
                stream,
                Input("", plan.name or "", path, kind),
                options,
                self._state.checkpoint.after,
                self._state.report,
            )

    async def _save_periodically(self) -> None:
        """Save the state periodically, and check whether the job was canceled."""
        for tick in count():
            await asyncio.sleep(SAVE_INTERVAL_S)
            with contextlib.suppress(JobsUnavailable):  # it was logged; the next round tries again
                if self._state.is_dirty:
                    await finish(self._save())  # and published: each save is a revision
                elif tick % round(CANCEL_POLL_S / SAVE_INTERVAL_S) == 0:
                    wanted = await self._store.to_cancel(self.id)
                    self._check_canceled(wanted)

    async def _save(self) -> None:
        self._state.is_dirty = False
        try:
            saved = await self._store.save(self.id, self._progress())
        except JobsUnavailable:
            self._state.is_dirty = True
            raise
        self._check_canceled(saved.to_cancel if saved else None)
        if saved:
            self._publish(saved.job)

    def _check_canceled(self, to_cancel: bool | None) -> None:
        if to_cancel is None:
            self._stop(Outcome(None))
        elif to_cancel:
            self.cancel()

    async def _end(self, outcome: Outcome) -> bool:
        """Save the outcome, with retries. Returns whether the upload can be removed.

        If another process has ended the job, the next one that locks the upload removes it.
        """
        if outcome.status is None:
            return False
        while True:
            try:
                return await self._save_outcome(outcome)
            except JobsUnavailable:
                if self._closing.is_set():
                    return False  # it resumes from the last checkpoint
            await wait_until_set(self._closing, CANCEL_POLL_S)

    async def _save_outcome(self, outcome: Outcome) -> bool:
        total_s, end = None, {}
        if outcome.status != "queued":
            finished_at = now()
            total_s = (finished_at - self._started_at).total_seconds()
            end = {"detail": outcome.detail, "finished_at": finished_at}
        saved = await self._store.save(
            self.id, self._progress(total_s), status=outcome.status, **end
        )
        if saved:
            self._publish(saved.job)
        return saved is not None and saved.job.ended

    def _progress(self, total_s: float | None = None) -> SavedProgress:
        return self._state.progress(self._load.retries if self._load else 0, total_s)

    def _failure_detail(self, exc: CascadeError) -> str:
        """The reason that the job reports."""
        if self._load and self._load.stopped_by:
            self._state.stop_at(self._load.stopped_by)
        elif isinstance(exc, TRANSIENT):
            return f"Nothing could be written any more, for long: {exc.detail}"
        return exc.detail
