"""Cleanup removes what has no use, and nothing that is in use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from service.jobs.cleanup import NO_FILE, NO_NODE, Cleanup
from service.jobs.database import Database
from service.jobs.job import Job, Status, new_id, now
from service.jobs.spool import Spool
from service.jobs.store import Store
from tests.jobs.fixtures import plan, remaining_uploads

MINE, ANOTHER = "a" * 32, "b" * 32


class Disk:
    """A folder and its table, with nobody who works on anything."""

    def __init__(self, spool: Spool, store: Store) -> None:
        self.spool = spool
        self.store = store
        self.sweeper = Cleanup(spool, store, MINE)

    async def job(self, status: Status, node: str = MINE, age: timedelta | None = None) -> str:
        """A row as it may be found."""
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
async def disk(folder: Path, url: str | None) -> AsyncIterator[Disk]:
    await asyncio.to_thread(folder.mkdir)
    database = Database(url, folder / "jobs.db")
    await database.migrate()
    yield Disk(Spool(folder), Store(database))
    await database.close()


async def test_cleanup_removes_files_without_job(disk: Disk, folder: Path) -> None:
    disk.file(new_id(), whole=False)
    disk.file(new_id())
    disk.file(await disk.job("succeeded"))
    waiting, running = await disk.job("queued"), await disk.job("running")
    disk.file(waiting)
    disk.file(running)
    await disk.sweeper.clean_up()
    assert remaining_uploads(folder) == sorted([f"{waiting}.spool", f"{running}.spool"])
    assert [(await disk.store.get(id)).status for id in (waiting, running)] == [  # type: ignore[union-attr]
        "queued",
        "running",
    ]


async def test_cleanup_skips_locked_files(disk: Disk, folder: Path) -> None:
    """One arrives, and one has arrived and has no job yet."""
    with (
        contextlib.closing(disk.spool.create(new_id())),
        contextlib.closing(disk.spool.create(new_id())) as whole,
    ):
        whole.commit()
        await disk.sweeper.clean_up()
        assert len(remaining_uploads(folder)) == 2
    await disk.sweeper.clean_up()
    assert remaining_uploads(folder) == []


async def test_cleanup_keeps_file_of_new_job(disk: Disk, folder: Path) -> None:
    """It was none's when the sweeper looked, and is somebody's when it has locked it."""
    id = await disk.job("queued")
    disk.file(id)
    await disk.sweeper._remove_orphan(id)
    assert remaining_uploads(folder) == [f"{id}.spool"]


async def test_cleanup_fails_jobs_without_upload(disk: Disk) -> None:
    gone = [await disk.job("queued"), await disk.job("running")]
    done = await disk.job("succeeded")
    await disk.sweeper.clean_up()
    for id in gone:
        job = await disk.store.get(id)
        assert job is not None
        assert (job.status, job.detail, job.revision) == ("failed", NO_FILE, 2)
        assert job.finished_at is not None
    assert (await disk.store.get(done)).status == "succeeded"  # type: ignore[union-attr]


async def test_cleanup_fails_jobs_of_lost_node_after_an_hour(disk: Disk) -> None:
    recent = await disk.job("running", ANOTHER, timedelta(minutes=59))
    gone = await disk.job("running", ANOTHER, timedelta(minutes=61))
    mine = await disk.job("queued", MINE, timedelta(days=2))
    disk.file(mine)
    await disk.sweeper.clean_up()
    jobs = {id: await disk.store.get(id) for id in (recent, gone, mine)}
    assert {id: job.status for id, job in jobs.items() if job} == {
        recent: "running",
        gone: "failed",
        mine: "queued",
    }
    assert jobs[gone] == replace(
        jobs[gone],  # type: ignore[type-var]
        detail=NO_NODE,
    )


async def test_cleanup_deletes_jobs_that_ended_a_month_ago(disk: Disk) -> None:
    old = await disk.job("succeeded", age=timedelta(days=31))
    recent = await disk.job("failed", age=timedelta(days=29))
    await disk.sweeper.clean_up()
    assert await disk.store.get(old) is None
    assert await disk.store.get(recent) is not None


def test_spool_node_name_is_stable_per_folder(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "imports")
    names = {spool.node() for _ in range(3)}
    assert len(names) == 1
    assert {Spool(tmp_path / "imports").node()} == names
    assert {Spool(tmp_path / "other").node()} != names
