"""How an import stands: how far it has come, how fast it goes, and what went wrong.

Knows neither who works on it nor where that is written down.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.ingest.items import Fault
from service.ingest.marks import Mark
from service.ingest.reading import Meter
from service.jobs.job import MAX_ERRORS, LineError
from service.jobs.speed import Speed
from service.jobs.store import Claimed, Progress

LONGEST_DETAIL = 500


class Standing:
    """Of one job, from the moment at which it was claimed. A load tells its marks to it.

    `meter` counts what is read of the file as it lies there; `changed` is for whoever writes down
    how it stands.
    """

    def __init__(self, claimed: Claimed) -> None:
        job = claimed.job
        self.mark = claimed.mark
        self.meter = Meter()
        self.changed = False
        self._stops_at_errors = job.plan.on_error == "stop"
        self._errors = list(job.errors)
        self._retries = job.retries
        self._size, self._read = job.bytes, job.bytes_read
        self._packed = False
        self._speed = Speed()

    def begin(self, *, packed: bool) -> None:
        """From now on its speed is measured; of a packed file by what is read of it."""
        self._packed = packed
        self._note_speed()

    def save(self, mark: Mark, faults: Sequence[Fault] = ()) -> None:
        """The load has come to here."""
        self.mark, self.changed = mark, True
        self._errors += map(_line_error, faults[: MAX_ERRORS - len(self._errors)])
        self._note_speed()

    def stop_at(self, fault: Fault) -> None:
        """The error at which the load has stopped is one of its errors from then on."""
        error = _line_error(fault)
        if error not in self._errors:
            self.mark = Mark(0, self.mark.written, self.mark.failed + 1, self.mark.after)
            self._errors.append(error)

    @property
    def stopped(self) -> bool:
        """It was to stop at an error, and has met one."""
        return self._stops_at_errors and self.mark.failed > 0

    @property
    def trouble(self) -> str | None:
        """Why it has failed, if nothing else was the matter."""
        if self.stopped:
            line, detail = self._errors[0]
            where = f"line {line}" if line else "the first error"
            return f"Stopped at {where}, as on_error says: {detail}"
        if self.mark.written:
            return None
        if not self._errors:
            return "There is no record in the file"
        line, detail = self._errors[0]
        where = f"line {line}" if line else "the file"
        return f"No record could be written; {where}: {detail}"

    def progress(self, retries: int, whole_s: float | None = None) -> Progress:
        """As it is now, with so many more retries; at the end, with the rate of the whole."""
        rate = self._speed.rate
        eta_s = self._speed.eta_s(self._size - self._read)
        if whole_s is not None:
            rate, eta_s = self.mark.written / whole_s if whole_s > 0 else 0.0, None
        retries += self._retries
        return Progress(self.mark, self._read, retries, self._errors, rate, eta_s)

    def _note_speed(self) -> None:
        read = self.meter.read if self._packed else self.mark.after.offset
        self._read = max(self._read, min(read, self._size))
        self._speed.add(self.mark.written + self.mark.failed, self._read)


def _line_error(fault: Fault) -> LineError:
    return LineError(fault.line, fault.sentence[:LONGEST_DETAIL])
