"""Databases that are away and disks that are full: said in a sentence, and mended by itself."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.errors import JobsUnavailable, StorageFull
from service.jobs.database import Database
from tests.ingest.fake_target import FakeTarget
from tests.jobs.fixtures import RunningJobs, ndjson, plan, remaining_uploads, running_jobs
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


async def eventually_sent(here: RunningJobs, data: bytes) -> str:
    """As soon as the database is back."""
    async with asyncio.timeout(60):
        while True:
            try:
                return (await here.send(data)).id
            except JobsUnavailable:
                await asyncio.sleep(0.05)


async def test_database_down_at_start_is_retried(
    folder: Path, own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    own_postgres.kill()
    shelf = FakeTarget()
    async with running_jobs(folder, own_postgres.url(), shelf) as here:
        for call in (here.jobs.list(1, None), here.jobs.get("0" * 32), here.send(b"")):
            with pytest.raises(JobsUnavailable, match="can't be reached just now") as told:
                await call
            assert told.value.retry_after
            assert PASSWORD not in str(told.value)
        assert remaining_uploads(folder) == []
        own_postgres.start()
        job = await here.ended(await eventually_sent(here, ndjson(range(9))))
    assert (job.status, job.written) == ("succeeded", 9)
    assert "the database of the imports" in caplog.text
    assert PASSWORD not in caplog.text


async def test_database_outage_during_import_loses_nothing(
    folder: Path, own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The records go on being written; how far it has come is saved when it is back."""
    shelf = FakeTarget()
    held = shelf.hold("500")
    async with running_jobs(folder, own_postgres.url(), shelf) as here:
        job = await here.send(ndjson(range(1_000)))
        await here.until(job.id, lambda job: job.written > 0)
        own_postgres.kill()
        with pytest.raises(JobsUnavailable):
            await here.jobs.get(job.id)
        with pytest.raises(JobsUnavailable):
            await here.jobs.cancel(job.id)
        held.set()
        async with asyncio.timeout(60):
            while len(shelf.records) < 1_000:
                await asyncio.sleep(0.01)
        assert remaining_uploads(folder) == [f"{job.id}.spool"]
        own_postgres.start()
        job = await here.ended(job.id)
        assert (job.status, job.written, job.failed) == ("succeeded", 1_000, 0)
    assert remaining_uploads(folder) == []
    assert PASSWORD not in caplog.text


async def test_shutdown_is_timely_during_database_outage(
    folder: Path, own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = FakeTarget()
    held = shelf.hold("500")
    async with running_jobs(folder, own_postgres.url(), shelf) as here:
        job = await here.send(ndjson(range(1_000)))
        await here.until(job.id, lambda job: job.written > 0)
        own_postgres.kill()
        held.set()
    assert "given up" not in caplog.text
    own_postgres.start()
    async with running_jobs(folder, own_postgres.url(), shelf) as here:
        job = await here.ended(job.id)
    assert (job.status, job.written, job.failed) == ("succeeded", 1_000, 0)


async def test_database_url_accepts_libpq_parameters(postgres: PostgresServer) -> None:
    url = await postgres.new_database()
    options = "?sslmode=prefer&channel_binding=prefer&connect_timeout=5&application_name=x"
    database = Database(url.replace("postgres://", "postgresql://") + options, Path())
    await database.migrate()
    await database.close()
    wanting_tls = Database(url + "?sslmode=require", Path())
    with pytest.raises(JobsUnavailable):
        await wanting_tls.migrate()
    await wanting_tls.close()


async def test_concurrent_migrations_create_one_table(folder: Path, url: str | None) -> None:
    await asyncio.to_thread(folder.mkdir)
    databases = [Database(url, folder / "jobs.db") for _ in range(8)]
    await asyncio.gather(*(database.migrate() for database in databases))
    await asyncio.gather(*(database.close() for database in databases))


async def test_cancelled_calls_leave_database_usable(folder: Path, url: str | None) -> None:
    async with running_jobs(folder, url, FakeTarget()) as here:
        await here.jobs.list(1, None)
        calls = [asyncio.create_task(here.jobs.list(1, None)) for _ in range(200)]
        for number, call in enumerate(calls):
            if number % 2:
                await asyncio.sleep(0)
            call.cancel()
        await asyncio.wait(calls)
        assert (await here.done(ndjson([1]))).status == "succeeded"


@pytest.mark.parametrize("turns", [1, 2, 3, 5])
async def test_cancelled_cancel_call_still_cancels_job(folder: Path, turns: int) -> None:
    shelf = FakeTarget()
    held = shelf.hold("first")
    async with running_jobs(folder, None, shelf) as here:
        await here.send(ndjson(["first"]))
        job = await here.send(ndjson(["second"]))
        cancelling = asyncio.create_task(here.jobs.cancel(job.id))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelling.cancel()
        await asyncio.wait({cancelling})
        assert (await here.ended(job.id)).status == "cancelled"
        held.set()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel takes no more than that in one file: what a full disk is to those who write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_upload_write_error_is_reported_and_leaves_no_file(folder: Path) -> None:
    async with running_jobs(folder, None, FakeTarget()) as here:
        await here.jobs.list(1, None)
        with files_of_at_most(2_000_000), pytest.raises(JobsUnavailable, match="written to disk"):
            await here.send(b"x" * 5_000_000)
        assert remaining_uploads(folder) == []
        assert (await here.done(ndjson([1]))).status == "succeeded"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
async def test_upload_to_full_disk_raises_storage_full(folder: Path) -> None:
    async with running_jobs(folder, None, FakeTarget()) as here:
        await here.jobs.list(1, None)
        full = os.open("/dev/full", os.O_WRONLY)
        async with here.jobs.receive(plan()) as upload:
            os.dup2(full, upload._file.descriptor)  # the kernel says ENOSPC from now on
            with pytest.raises(StorageFull, match="no space left"):
                await upload.write(b"x" * 5_000_000)
        os.close(full)
        assert remaining_uploads(folder) == []
