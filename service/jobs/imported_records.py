"""Counts the records that the imports of this process have written."""

from __future__ import annotations

from service.jobs.job import Job


class ImportedRecords:
    """The records `written` and `failed` since the start, up to the last checkpoint of each job."""

    def __init__(self) -> None:
        self.written = self.failed = 0
        self._running: Job | None = None

    def add(self, job: Job) -> None:
        """Count what a revision of a job has more than the one before.

        A process runs one job at a time. Its first revision has what earlier runs have written.
        """
        before = self._running if self._running and self._running.id == job.id else job
        self.written += job.written - before.written
        self.failed += job.failed - before.failed
        self._running = job
