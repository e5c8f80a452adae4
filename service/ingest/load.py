"""`Load`: writes batches to a target, a few at once, and keeps the checkpoint.

Batches may finish in any order. The checkpoint is the end of the last batch before which all have
finished, so nothing is left out when the load is resumed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.concurrency import finish
from service.errors import CommandFailed
from service.indexes.records import NO_COUNTS, WriteCounts
from service.ingest.batch_writer import BatchWriter, RetryPolicy
from service.ingest.batches import Batch
from service.ingest.checkpoint import Checkpoint, CheckpointStore
from service.ingest.concurrency_limit import ConcurrencyLimit
from service.ingest.record import RecordError
from service.ingest.target import Failure, Target, WriteResult

MAX_REFUSED_ONLY = 100  # refused records without one that was written: the load gives up
STOP_GRACE_S = 10.0  # for the batches in flight after a stop


@dataclass(slots=True)
class Counts:
    """The records of a load so far."""

    written: int = 0
    divided: WriteCounts = NO_COUNTS
    failed: int = 0
    seen: int = 0


class Load:
    """One load. `run` it once; `stop` it from the same event loop.

    `pause_after` returns how long to pause after a batch that took so many seconds.
    """

    def __init__(
        self,
        target: Target,
        namespace: str,
        *,
        report: Callable[[RecordError], None],
        checkpoints: CheckpointStore | None = None,
        start: Checkpoint | None = None,
        concurrency: int = 4,
        limit: ConcurrencyLimit | None = None,
        pause_after: Callable[[float], float] = lambda _: 0.0,
        retry_policy: RetryPolicy | None = None,
        stop_grace_s: float = STOP_GRACE_S,
        stop_on_error: bool = False,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.counts = Counts()
        self.stopped_by: RecordError | None = None  # with `stop_on_error`
        self._namespace = namespace
        self._report = report
        self._checkpoints = checkpoints
        self._checkpoint = start or Checkpoint()
        self._limit = limit or ConcurrencyLimit(concurrency)
        self._stop_grace_s = stop_grace_s
        self._stop_on_error = stop_on_error
        self._on_stop = on_stop
        self._stopping = asyncio.Event()
        self._writer = BatchWriter(
            target,
            self._limit,
            pause_after,
            retry_policy or RetryPolicy(),
            self._stopping,
        )
        self._failure: Exception | None = None
        self._refused = 0
        self._pending: deque[Batch] = deque()  # in the order of the file
        self._in_flight: dict[asyncio.Task[None], Batch] = {}

    @property
    def retries(self) -> int:
        return self._writer.retries

    def stop(self) -> None:
        """Start no more batches; those in flight may still finish."""
        self._stopping.set()
        self._limit.close()
        self._on_stop()

    async def run(self, batches: Iterator[Batch]) -> None:
        """Write every batch, unless it is stopped. Raises the error that retries did not help."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                batch = await self._next(batches)
                if batch is None:
                    break
                self.counts.seen = batch.end
                for error in batch.errors:
                    self._count_failed(error)
                while self._must_wait(batch) and not self._stopping.is_set():
                    await asyncio.wait(
                        {stopping, *self._in_flight}, return_when=asyncio.FIRST_COMPLETED
                    )
                if not self._stopping.is_set():
                    self._start(batch)
            await self._finish(stopping)
        finally:
            stopping.cancel()
            for task in self._in_flight:
                task.cancel()
            await asyncio.gather(*self._in_flight, stopping, return_exceptions=True)
        if self._failure:
            raise self._failure

    async def _next(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch, parsed in a thread that is waited for even if this is cancelled.

        If the file can't be read any further, the batches before are still written.
        """
        try:
            return await finish(asyncio.to_thread(next, batches, None))
        except Exception as exc:
            self._failure = self._failure or exc
            return None

    async def _finish(self, stopping: asyncio.Task[bool]) -> None:
        """Wait for the batches in flight; after a stop, only for the grace period."""
        while self._in_flight and not self._stopping.is_set():
            await asyncio.wait({stopping, *self._in_flight}, return_when=asyncio.FIRST_COMPLETED)
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=self._stop_grace_s)

    def _must_wait(self, batch: Batch) -> bool:
        """Whether all slots are taken, or an earlier record with the same id is in flight."""
        in_flight = self._in_flight.values()
        return len(in_flight) >= self._limit.limit or any(
            not each.ids.isdisjoint(batch.ids) for each in in_flight
        )

    def _start(self, batch: Batch) -> None:
        self._pending.append(batch)
        task = asyncio.create_task(self._write(batch))
        self._in_flight[task] = batch
        task.add_done_callback(self._in_flight.pop)

    async def _write(self, batch: Batch) -> None:
        try:
            result = await self._write_records(batch)
            batch.errors += [self._record_error(batch, failure) for failure in result.failures]
            batch.written, batch.counts, batch.is_done = result.written, result.counts, True
            for kept in (batch.records, batch.locations, batch.ids):
                kept.clear()  # an earlier batch may keep this one waiting for long
            self.counts.written += result.written
            self.counts.divided += result.counts
            self._refused += len(result.failures)
            self._advance_checkpoint()
            if self._refused >= MAX_REFUSED_ONLY and not (
                self._checkpoint.written or self.counts.written
            ):
                self._fail(CommandFailed(f"the first {self._refused} records were all refused"))
        except Exception as exc:  # any error ends the load
            self._fail(exc)

    async def _write_records(self, batch: Batch) -> WriteResult:
        if not batch.records:
            return WriteResult(0)
        return await self._writer.write(batch.records, batch.namespace or self._namespace)

    def _advance_checkpoint(self) -> None:
        before = self._checkpoint
        errors: list[RecordError] = []
        while self._pending and self._pending[0].is_done:
            batch = self._pending.popleft()
            written = self._checkpoint.written + batch.written
            failed = self._checkpoint.failed + len(batch.errors)
            counts = self._checkpoint.counts + batch.counts
            self._checkpoint = Checkpoint(batch.end, written, failed, batch.after, counts)
            errors += batch.errors
        if self._checkpoints and self._checkpoint is not before:
            self._checkpoints.save(self._checkpoint, errors)

    def _record_error(self, batch: Batch, failure: Failure) -> RecordError:
        id = failure.id if failure.id is not None else batch.records[failure.index].get("_id")
        where, line = batch.locations[failure.index]
        error = RecordError(where, f"{id!r}: {failure.detail}", line)
        self._count_failed(error)
        return error

    def _count_failed(self, error: RecordError) -> None:
        self.counts.failed += 1
        self._report(error)
        if self._stop_on_error:
            self.stopped_by = self.stopped_by or error
            self._fail(CommandFailed("stopped at the first error, as --stop-on-error says"))

    def _fail(self, failure: Exception) -> None:
        if not self._stopping.is_set():
            self._failure = failure
            self.stop()
