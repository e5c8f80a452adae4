"""`JobState`: the checkpoint, counts, errors and speed of a job while it runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from service.ingest.checkpoint import Checkpoint
from service.ingest.parsing import Assumptions
from service.ingest.reading import ReadMeter
from service.ingest.record import RecordError
from service.jobs.job import MAX_ERRORS, LineError
from service.jobs.store import Claim, SavedProgress

MAX_DETAIL = 500  # characters
RATE_WINDOW_S = 10.0


class JobState:
    """The state of one job since it was claimed. It is the checkpoint store of the job's load.

    `meter` counts the bytes that are read of the file. `is_dirty` says whether there is something
    to save.
    """

    def __init__(self, claim: Claim) -> None:
        job = claim.job
        self.checkpoint = claim.checkpoint
        self.meter = ReadMeter()
        self.is_dirty = False
        self._stops_on_error = job.plan.on_error == "stop"
        self._errors = list(job.errors)
        self._retries = job.retries
        self._size, self._read = job.bytes, job.bytes_read
        self._notes = job.notes
        self._has_byte_positions = True
        self._rate = RateMeter()

    def start(self, *, has_positions: bool) -> None:
        """Start to measure the rate. Without positions in the file, the bytes read count."""
        self._has_byte_positions = has_positions
        self._measure()

    def report(self, assumed: Assumptions) -> None:
        """Keep the notes on how the file is read. This is called in the parser's thread."""
        self._notes = assumed.notes
        self._has_byte_positions &= not assumed.is_converted

    def save(self, checkpoint: Checkpoint, errors: Sequence[RecordError] = ()) -> None:
        self.checkpoint, self.is_dirty = checkpoint, True
        self._errors += map(_line_error, errors[: MAX_ERRORS - len(self._errors)])
        self._measure()

    def stop_at(self, record_error: RecordError) -> None:
        """Add the error that stopped the load."""
        error = _line_error(record_error)
        if error not in self._errors:
            before = self.checkpoint
            self.checkpoint = replace(before, position=0, failed=before.failed + 1)
            self._errors.append(error)

    @property
    def is_stopped(self) -> bool:
        """Whether an error has stopped the job, as `on_error` asks."""
        return self._stops_on_error and self.checkpoint.failed > 0

    @property
    def failure(self) -> str | None:
        """Why the job failed although it has read the whole file; None if it succeeded."""
        if self.is_stopped:
            line, detail = self._errors[0]
            where = f"line {line}" if line else "the first error"
            return f"Stopped at {where}, as on_error says: {detail}"
        if self.checkpoint.written:
            return None
        if not self._errors:
            return "There is no record in the file"
        line, detail = self._errors[0]
        where = f"line {line}:" if line else "the file"
        return f"No record could be written; {where} {detail}"

    def progress(self, retries: int, total_s: float | None = None) -> SavedProgress:
        """What is saved. With `total_s`, the job has ended, and the rate is the average."""
        rate = self._rate.records_per_s
        eta_s = self._rate.eta_s(self._size - self._read)
        if total_s is not None:
            rate, eta_s = self.checkpoint.written / total_s if total_s > 0 else 0.0, None
        retries += self._retries
        return SavedProgress(
            self.checkpoint, self._read, retries, self._errors, rate, eta_s, self._notes
        )

    def _measure(self) -> None:
        read = self.checkpoint.after.offset if self._has_byte_positions else self.meter.read
        self._read = max(self._read, min(read, self._size))
        self._rate.add(self.checkpoint.written + self.checkpoint.failed, self._read)


class RateMeter:
    """Rates over the last seconds, from totals."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int, int]] = deque()

    def add(self, records: int, read: int) -> None:
        now = self._clock()
        self._samples.append((now, records, read))
        while self._samples[0][0] < now - RATE_WINDOW_S:
            self._samples.popleft()

    @property
    def records_per_s(self) -> float:
        return self._per_second(1)

    def eta_s(self, bytes_left: int) -> float | None:
        """The seconds for the rest; None while the rate is not known."""
        per_second = self._per_second(2)
        return bytes_left / per_second if per_second else None

    def _per_second(self, column: int) -> float:
        if len(self._samples) < 2:  # noqa: PLR2004 - a rate needs two
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        seconds = last[0] - first[0]
        return (last[column] - first[column]) / seconds if seconds > 0 else 0.0


def _line_error(error: RecordError) -> LineError:
    return LineError(error.line, error.reason[:MAX_DETAIL])
