"""Helpers to run import jobs: open the service, upload a file, wait for the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

from service.ingest.target import Target
from service.jobs.job import Job, Plan
from service.jobs.jobs import Jobs
from service.lifecycle import Lifecycle

PATIENCE_S = 60.0


def plan(format: str = "ndjson", **options: Any) -> Plan:
    return Plan(**{"namespace": "ns", "name": "a file", "format": format} | options)


def ndjson(ids: Iterable[object], text: str = "some words") -> bytes:
    return b"".join(
        json.dumps({"_id": str(id), "chunk_text": f"{text} {id}"}).encode() + b"\n" for id in ids
    )


class RunningJobs:
    """The import jobs of one process."""

    def __init__(self, jobs: Jobs, lifecycle: Lifecycle) -> None:
        self.jobs = jobs
        self.lifecycle = lifecycle

    async def send(self, data: bytes, **options: Any) -> Job:
        async with self.jobs.receive(plan(**options)) as upload:
            for start in range(0, len(data), 60_000):
                await upload.write(data[start : start + 60_000])
            return await upload.commit()

    async def wait_until_ended(self, id: str) -> Job:
        """Waits until the job has ended and returns it."""
        return await self.wait_for(id, lambda job: job.ended)

    async def wait_for(self, id: str, condition: Callable[[Job], bool]) -> Job:
        async with asyncio.timeout(PATIENCE_S), self.jobs.watch(id) as changes:
            async for job in changes:
                if condition(job):
                    return job
        raise AssertionError("the watch ended before")

    async def run_to_end(self, data: bytes, **options: Any) -> Job:
        return await self.wait_until_ended((await self.send(data, **options)).id)


@contextlib.asynccontextmanager
async def running_jobs(
    folder: Path, url: str | None, target: Target, **options: Any
) -> AsyncIterator[RunningJobs]:
    lifecycle = Lifecycle()
    given: dict[str, Any] = {"max_bytes": 10_000_000, "batches_at_once": 4} | options
    jobs = Jobs(folder, url, target, lifecycle, **given)
    async with jobs.opened():
        yield RunningJobs(jobs, lifecycle)


def remaining_uploads(folder: Path) -> list[str]:
    """The names of the upload files in the folder."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in {".part", ".spool"})
