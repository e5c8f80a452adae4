"""Imports into Pinecone: rate limits, rejected records and rejected keys."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from service.app import create_app
from service.errors import Unavailable
from service.records.records import ImportTarget
from tests.conftest import MakeSettings
from tests.jobs.fixtures import RunningJobs, ndjson, running_jobs
from tests.upstream import Flaky, Status, Upstream


@contextlib.asynccontextmanager
async def importing(make: MakeSettings, folder: Path) -> AsyncIterator[RunningJobs]:
    app = create_app(make())
    async with app.test_app():
        backend = app.extensions["cascade"]
        target = ImportTarget(lambda: backend.all_records, "chunk_text", 20.0)
        async with running_jobs(folder, None, target) as running:
            yield running


async def test_import_writes_every_record_to_each_index(
    make_settings: MakeSettings, upstream: Upstream, folder: Path
) -> None:
    async with importing(make_settings, folder) as running:
        job = await running.run_to_end(ndjson(range(300)))
    assert (job.status, job.written, job.retries) == ("succeeded", 300, 0)
    for index in ("dense", "sparse"):
        sizes = [len(call.body) for call in upstream.upserts(index)]
        assert sorted(sizes, reverse=True) == [96, 96, 96, 12]


async def test_import_pauses_for_retry_after_of_rate_limit(
    make_settings: MakeSettings, upstream: Upstream, folder: Path
) -> None:
    limit = Status(429, {"retry-after": "3600"})
    async with importing(make_settings, folder) as running:
        with upstream.behaving(limit, "dense"):
            job = await running.send(ndjson(range(2_000)))
            await upstream.until(lambda: len(upstream.upserts("dense")) >= 2)
            job = await running.jobs.cancel(job.id)
    assert job.status == "cancelled"
    assert len(upstream.upserts("dense")) == 2  # those that were on their way together


async def test_import_survives_rate_limit(
    make_settings: MakeSettings, upstream: Upstream, folder: Path
) -> None:
    limit = Flaky(Status(429, {"retry-after": "1"}), times=1)
    async with importing(make_settings, folder) as running:
        with upstream.behaving(limit, "sparse"):
            job = await running.run_to_end(ndjson(range(500)))
    assert (job.status, job.written, job.failed, job.retries) == ("succeeded", 500, 0, 1)


async def test_import_reports_invalid_record_with_line(
    make_settings: MakeSettings, folder: Path
) -> None:
    async with importing(make_settings, folder) as running:
        job = await running.run_to_end(ndjson([1, "ä", 3]))
        alone = await running.run_to_end(ndjson(["ä"]))
    assert (job.status, job.written, job.failed) == ("succeeded", 2, 1)
    assert job.errors[0].line == 2
    assert "1 to 512 ASCII characters" in job.errors[0].detail
    assert alone.status == "failed"
    assert alone.detail is not None
    assert "'ä': _id: must be a text of 1 to 512 ASCII" in alone.detail


async def test_import_fails_if_key_is_rejected(
    make_settings: MakeSettings, upstream: Upstream, folder: Path
) -> None:
    async with importing(make_settings, folder) as running:
        with upstream.behaving(Status(401), "dense"):
            job = await running.run_to_end(ndjson(range(300)))
    assert job.status == "failed"
    assert job.detail is not None
    assert "rejected the key" in job.detail


async def test_import_waits_while_records_are_closed(folder: Path) -> None:
    def closed() -> None:
        raise Unavailable("not open")

    target = ImportTarget(closed, "chunk_text", 1.0)  # type: ignore[arg-type]
    async with running_jobs(folder, None, target) as running:
        job = await running.send(ndjson([1]))
        await running.wait_for(job.id, lambda job: job.status == "running")
    async with running_jobs(folder, None, target) as running:
        assert (await running.jobs.get(job.id)).status in {"queued", "running"}


async def test_import_skips_oversized_record(make_settings: MakeSettings, folder: Path) -> None:
    async with importing(make_settings, folder) as running:
        job = await running.run_to_end(ndjson([1]) + ndjson([2], "x" * 50_000) + ndjson([3]))
    assert (job.written, job.failed, job.errors[0].line) == (2, 1, 2)
