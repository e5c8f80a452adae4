"""Cleanup removes unused files and old jobs, and nothing that is in use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from service.database.database import Database
from service.jobs.cleanup import NO_FILE, NO_NODE, Cleanup
from service.jobs.job import Job, Status, new_id, now
from service.jobs.spool import Spool
from service.jobs.store import Store
from service.jobs.table import IMPORTS
from tests.jobs.fixtures import plan, remaining_uploads

MINE, ANOTHER = "a" * 32, "b" * 32


class Storage:
    """An upload folder and its jobs table, without a worker."""

    def __init__(self, spool: Spool, store: Store) -> None:
        self.spool = spool
        self.store = store
        self.cleanup = Cleanup(spool, store, MINE)

    async def job(self, status: Status, node: str = MINE, age: timedelta | None = None) -> str:
        """Adds a job and returns its id."""
        at = now() - (age or timedelta())
        ended = None if status in {"queued", "running"} else at
        id = new_id()
        job = Job(id, plan(), status, 9, 0, 0, 0, 0, (), None, 1, at, at, ended, 0.0, None)
        await self.store.add(job, node)
        return id

    def file(self, id: str, *, whole: bool = True) -> None:
        held = self.spool.create(id)
        if whole:
            held.commit()
        held.close()


@pytest.fixture
async def storage(folder: Path, url: str | None) -> AsyncIterator[Storage]:
    await asyncio.to_thread(folder.mkdir)
    database = Database(url, folder / "jobs.db", IMPORTS)
    await database.migrate()
    yield Storage(Spool(folder), Store(database))
    await database.close()


async def test_cleanup_removes_files_without_job(storage: Storage, folder: Path) -> None:
    storage.file(new_id(), whole=False)
    storage.file(new_id())
    storage.file(await storage.job("succeeded"))
    waiting, running = await storage.job("queued"), await storage.job("running")
    storage.file(waiting)
    storage.file(running)
    await storage.cleanup.clean_up()
    assert remaining_uploads(folder) == sorted([f"{waiting}.spool", f"{running}.spool"])
    assert [(await storage.store.get(id)).status for id in (waiting, running)] == [  # type: ignore[union-attr]
        "queued",
        "running",
    ]


async def test_cleanup_skips_locked_files(storage: Storage, folder: Path) -> None:
    """One upload is incomplete, one is complete but has no job yet."""
    with (
        contextlib.closing(storage.spool.create(new_id())),
        contextlib.closing(storage.spool.create(new_id())) as whole,
    ):
        whole.commit()
        await storage.cleanup.clean_up()
        assert len(remaining_uploads(folder)) == 2
    await storage.cleanup.clean_up()
    assert remaining_uploads(folder) == []


async def test_cleanup_keeps_file_of_new_job(storage: Storage, folder: Path) -> None:
    """The job is added between the scan of the folder and the lock of the file."""
    id = await storage.job("queued")
    storage.file(id)
    await storage.cleanup._remove_orphan(id)
    assert remaining_uploads(folder) == [f"{id}.spool"]


async def test_cleanup_fails_jobs_without_upload(storage: Storage) -> None:
    gone = [await storage.job("queued"), await storage.job("running")]
    done = await storage.job("succeeded")
    await storage.cleanup.clean_up()
    for id in gone:
        job = await storage.store.get(id)
        assert job is not None
        assert (job.status, job.detail, job.revision) == ("failed", NO_FILE, 2)
        assert job.finished_at is not None
    assert (await storage.store.get(done)).status == "succeeded"  # type: ignore[union-attr]


async def test_cleanup_fails_jobs_of_lost_node_after_an_hour(storage: Storage) -> None:
    recent = await storage.job("running", ANOTHER, timedelta(minutes=59))
    gone = await storage.job("running", ANOTHER, timedelta(minutes=61))
    mine = await storage.job("queued", MINE, timedelta(days=2))
    storage.file(mine)
    await storage.cleanup.clean_up()
    jobs = {id: await storage.store.get(id) for id in (recent, gone, mine)}
    assert {id: job.status for id, job in jobs.items() if job} == {
        recent: "running",
        gone: "failed",
        mine: "queued",
    }
    assert jobs[gone] == replace(
        jobs[gone],  # type: ignore[type-var]
        detail=NO_NODE,
    )


async def test_cleanup_deletes_jobs_that_ended_a_month_ago(storage: Storage) -> None:
    old = await storage.job("succeeded", age=timedelta(days=31))
    recent = await storage.job("failed", age=timedelta(days=29))
    await storage.cleanup.clean_up()
    assert await storage.store.get(old) is None
    assert await storage.store.get(recent) is not None


def test_spool_node_name_is_stable_per_folder(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "imports")
    names = {spool.node() for _ in range(3)}
    assert len(names) == 1
    assert {Spool(tmp_path / "imports").node()} == names
    assert {Spool(tmp_path / "other").node()} != names
