"""Batches on their way: a few at once, and acknowledged in order.

Knows nothing of files or of what the target is. Batches may finish in any order; the mark that a
resumed load starts from is the end of the last batch before which all are finished.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from service.concurrency import finish
from service.errors import CommandFailed
from service.ingest.batches import Batch
from service.ingest.flow import Flow
from service.ingest.items import Fault
from service.ingest.marks import Keeper, Mark
from service.ingest.reading import START, Spot
from service.ingest.sending import Patience, Sending
from service.ingest.target import Failure, Target, Written

HOPELESS = 100  # refused records, and not one that was taken: something else is wrong
LAST_CALLS_S = 10.0  # how long batches in flight may take after a stop


@dataclass(slots=True)
class Tally:
    """What a load has done so far."""

    written: int = 0
    failed: int = 0
    seen: int = 0


@dataclass(slots=True)
class _Sent:
    """A batch that was sent; `mark` is what it adds, once it is acknowledged."""

    end: int
    after: Spot = START
    written: int = 0
    failed: int = 0
    faults: list[Fault] = field(default_factory=list)
    done: bool = False


class Load:
    """One load. `run` it once; `stop` it from the same event loop.

    `pace` says how long to rest after a batch that took so many seconds.
    """

    def __init__(
        self,
        target: Target,
        namespace: str,
        *,
        report: Callable[[Fault], None],
        journal: Keeper | None = None,
        begin: Mark | None = None,
        concurrency: int = 4,
        flow: Flow | None = None,
        pace: Callable[[float], float] = lambda _: 0.0,
        patience: Patience | None = None,
        last_calls_s: float = LAST_CALLS_S,
        stop_on_error: bool = False,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.tally = Tally()
        self.stopped_at: Fault | None = None  # the first error, if it is to stop there
        self._report = report
        self._journal = journal
        self._mark = begin or Mark()
        self._flow = flow or Flow(concurrency)
        self._last_calls_s = last_calls_s
        self._stop_on_error = stop_on_error
        self._on_stop = on_stop
        self._stopping = asyncio.Event()
        self._sending = Sending(
            target, namespace, self._flow, pace, patience or Patience(), self._stopping
        )
        self._failure: Exception | None = None
        self._refused = 0
        self._order: deque[_Sent] = deque()
        self._flying: dict[asyncio.Task[None], Batch] = {}

    @property
    def retries(self) -> int:
        return self._sending.retries

    def stop(self) -> None:
        """Begin nothing more; what is in flight may still be acknowledged."""
        self._stopping.set()
        self._flow.close()
        self._on_stop()

    async def run(self, batches: Iterator[Batch]) -> None:
        """Write every batch, unless it is stopped. Raises what no other try can mend."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                batch = await self._next(batches)
                if batch is None:
                    break
                self.tally.seen = batch.end
                self._tell(batch)
                while self._must_wait(batch) and not self._stopping.is_set():
                    await asyncio.wait(
                        {stopping, *self._flying}, return_when=asyncio.FIRST_COMPLETED
                    )
                if not self._stopping.is_set():
                    self._begin(batch)
            await self._finish(stopping)
        finally:
            stopping.cancel()
            for task in self._flying:
                task.cancel()
            await asyncio.gather(*self._flying, stopping, return_exceptions=True)
        if self._failure:
            raise self._failure

    async def _next(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch, parsed in a thread; one that was begun is waited for even if cancelled.

        Where nothing more can be read, what was read before is still written.
        """
        try:
            return await finish(asyncio.to_thread(next, batches, None))
        except Exception as exc:
            self._failure = self._failure or exc
            return None

    async def _finish(self, stopping: asyncio.Task[bool]) -> None:
        """Wait for what is in flight: as long as it takes, or not for long after a stop."""
        while self._flying and not self._stopping.is_set():
            await asyncio.wait({stopping, *self._flying}, return_when=asyncio.FIRST_COMPLETED)
        if self._flying:
            await asyncio.wait(self._flying, timeout=self._last_calls_s)

    def _must_wait(self, batch: Batch) -> bool:
        """Nothing may overtake an earlier record with the same id."""
        flying = self._flying.values()
        return len(flying) >= self._flow.limit or any(
            not each.ids.isdisjoint(batch.ids) for each in flying
        )

    def _begin(self, batch: Batch) -> None:
        sent = _Sent(batch.end, batch.after, failed=len(batch.faults), faults=batch.faults)
        self._order.append(sent)
        task = asyncio.create_task(self._send(batch, sent))
        self._flying[task] = batch
        task.add_done_callback(self._flying.pop)

    async def _send(self, batch: Batch, sent: _Sent) -> None:
        try:
            written = await self._sending.write(batch.records) if batch.records else Written(0)
            for failure in written.failures:
                sent.faults.append(self._fail(batch, failure))
            sent.written, sent.done = written.written, True
            sent.failed += len(written.failures)
            self.tally.written += written.written
            self._refused += len(written.failures)
            self._acknowledge()
            if self._refused >= HOPELESS and not self._mark.written and not self.tally.written:
                self._end(CommandFailed(f"the first {self._refused} records were all refused"))
        except Exception as exc:  # whatever it is, the load must not go on as if nothing was
            self._end(exc)

    def _acknowledge(self) -> None:
        """Move the mark up to the first batch that is still out."""
        before = self._mark
        faults: list[Fault] = []
        while self._order and self._order[0].done:
            sent = self._order.popleft()
            written = self._mark.written + sent.written
            self._mark = Mark(sent.end, written, self._mark.failed + sent.failed, sent.after)
            faults += sent.faults
        if self._journal and self._mark is not before:
            self._journal.save(self._mark, faults)

    def _tell(self, batch: Batch) -> None:
        for fault in batch.faults:
            self._count(fault)

    def _fail(self, batch: Batch, failure: Failure) -> Fault:
        id = failure.id if failure.id is not None else batch.records[failure.index].get("_id")
        where, line = batch.places[failure.index]
        fault = Fault(where, f"{id!r}: {failure.detail}", line)
        self._count(fault)
        return fault

    def _count(self, fault: Fault) -> None:
        self.tally.failed += 1
        self._report(fault)
        if self._stop_on_error:
            self.stopped_at = self.stopped_at or fault
            self._end(CommandFailed("stopped at the first error, as --stop-on-error says"))

    def _end(self, failure: Exception) -> None:
        if not self._stopping.is_set():
            self._failure = failure
            self.stop()
