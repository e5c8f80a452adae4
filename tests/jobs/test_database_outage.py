"""Unavailable databases and full disks: clear errors, and recovery without intervention."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.database.database import Database
from service.errors import JobsUnavailable, StorageFull
from service.jobs.table import IMPORTS
from tests.ingest.fake_target import FakeTarget
from tests.jobs.fixtures import RunningJobs, ndjson, plan, remaining_uploads, running_jobs
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


async def eventually_sent(running: RunningJobs, data: bytes) -> str:
    """Retries the upload until the database is available."""
    async with asyncio.timeout(60):
        while True:
            try:
                return (await running.send(data)).id
            except JobsUnavailable:
                await asyncio.sleep(0.05)


async def test_database_down_at_start_is_retried(
    folder: Path, own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    own_postgres.kill()
    target = FakeTarget()
    async with running_jobs(folder, own_postgres.url(), target) as running:
        for call in (running.jobs.list(1, None), running.jobs.get("0" * 32), running.send(b"")):
            with pytest.raises(JobsUnavailable, match="can't be reached just now") as caught:
                await call
            assert caught.value.retry_after
            assert PASSWORD not in str(caught.value)
        assert remaining_uploads(folder) == []
        own_postgres.start()
        job = await running.wait_until_ended(await eventually_sent(running, ndjson(range(9))))
    assert (job.status, job.written) == ("succeeded", 9)
    assert "the database of the imports" in caplog.text
    assert PASSWORD not in caplog.text


async def test_database_outage_during_import_loses_nothing(
    folder: Path, own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Records are still written; the checkpoint is saved when the database is back."""
    target = FakeTarget()
    held = target.hold("500")
    async with running_jobs(folder, own_postgres.url(), target) as running:
        job = await running.send(ndjson(range(1_000)))
        await running.wait_for(job.id, lambda job: job.written > 0)
        own_postgres.kill()
        with pytest.raises(JobsUnavailable):
            await running.jobs.get(job.id)
        with pytest.raises(JobsUnavailable):
            await running.jobs.cancel(job.id)
        held.set()
        async with asyncio.timeout(60):
            while len(target.records) < 1_000:
                await asyncio.sleep(0.01)
        assert remaining_uploads(folder) == [f"{job.id}.spool"]
        own_postgres.start()
        job = await running.wait_until_ended(job.id)
        assert (job.status, job.written, job.failed) == ("succeeded", 1_000, 0)
    assert remaining_uploads(folder) == []
    assert PASSWORD not in caplog.text


async def test_shutdown_is_timely_during_database_outage(
    folder: Path, own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    target = FakeTarget()
    held = target.hold("500")
    async with running_jobs(folder, own_postgres.url(), target) as running:
        job = await running.send(ndjson(range(1_000)))
        await running.wait_for(job.id, lambda job: job.written > 0)
        own_postgres.kill()
        held.set()
    assert "given up" not in caplog.text
    own_postgres.start()
    async with running_jobs(folder, own_postgres.url(), target) as running:
        job = await running.wait_until_ended(job.id)
    assert (job.status, job.written, job.failed) == ("succeeded", 1_000, 0)


async def test_database_url_accepts_libpq_parameters(postgres: PostgresServer) -> None:
    url = await postgres.new_database()
    options = "?sslmode=prefer&channel_binding=prefer&connect_timeout=5&application_name=x"
    database = Database(url.replace("postgres://", "postgresql://") + options, Path(), IMPORTS)
    await database.migrate()
    await database.close()
    wanting_tls = Database(url + "?sslmode=require", Path(), IMPORTS)
    with pytest.raises(JobsUnavailable):
        await wanting_tls.migrate()
    await wanting_tls.close()


async def test_concurrent_migrations_create_one_table(folder: Path, url: str | None) -> None:
    await asyncio.to_thread(folder.mkdir)
    databases = [Database(url, folder / "jobs.db", IMPORTS) for _ in range(8)]
    await asyncio.gather(*(database.migrate() for database in databases))
    await asyncio.gather(*(database.close() for database in databases))


async def test_cancelled_calls_leave_database_usable(folder: Path, url: str | None) -> None:
    async with running_jobs(folder, url, FakeTarget()) as running:
        await running.jobs.list(1, None)
        calls = [asyncio.create_task(running.jobs.list(1, None)) for _ in range(200)]
        for number, call in enumerate(calls):
            if number % 2:
                await asyncio.sleep(0)
            call.cancel()
        await asyncio.wait(calls)
        assert (await running.run_to_end(ndjson([1]))).status == "succeeded"


@pytest.mark.parametrize("turns", [1, 2, 3, 5])
async def test_cancelled_cancel_call_still_cancels_job(folder: Path, turns: int) -> None:
    target = FakeTarget()
    held = target.hold("first")
    async with running_jobs(folder, None, target) as running:
        await running.send(ndjson(["first"]))
        job = await running.send(ndjson(["second"]))
        cancelling = asyncio.create_task(running.jobs.cancel(job.id))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelling.cancel()
        await asyncio.wait({cancelling})
        assert (await running.wait_until_ended(job.id)).status == "cancelled"
        held.set()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Limits the size of files, so that writes fail as they do on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_upload_write_error_is_reported_and_leaves_no_file(folder: Path) -> None:
    async with running_jobs(folder, None, FakeTarget()) as running:
        await running.jobs.list(1, None)
        with files_of_at_most(2_000_000), pytest.raises(StorageFull, match="no space left"):
            await running.send(b"x" * 5_000_000)
        assert remaining_uploads(folder) == []
        assert (await running.run_to_end(ndjson([1]))).status == "succeeded"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
async def test_upload_to_full_disk_raises_storage_full(folder: Path) -> None:
    async with running_jobs(folder, None, FakeTarget()) as running:
        await running.jobs.list(1, None)
        full = os.open("/dev/full", os.O_WRONLY)
        async with running.jobs.receive(plan()) as upload:
            os.dup2(full, upload._file.descriptor)  # the kernel says ENOSPC from now on
            with pytest.raises(StorageFull, match="no space left"):
                await upload.write(b"x" * 5_000_000)
        os.close(full)
        assert remaining_uploads(folder) == []
