"""Jobs watched: every revision in order, to a thousand as to one, and an end to each watch."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import TooSlow
from service.jobs.job import Job, Status, new_id, now
from service.jobs.job_run import SAVE_INTERVAL_S
from service.jobs.watchers import MAX_REVISIONS, Watchers
from tests.ingest.fake_target import FakeTarget
from tests.jobs.fixtures import ndjson, plan, running_jobs

FIRST = Job(new_id(), plan(), "running", 9, 0, 0, 0, 0, (), None, 5, now(), now(), None, 0.0, None)


class Shown:
    """A job that others change, and that is looked at now and then."""

    def __init__(self) -> None:
        self.job = FIRST
        self.looks = 0
        self.watchers = Watchers(self._read)

    async def _read(self, ids: Sequence[str]) -> list[Job]:
        self.looks += 1
        return [self.job] if self.job.id in ids else []

    def move(self, status: Status = "running", by: int = 1) -> Job:
        self.job = replace(self.job, revision=self.job.revision + by, status=status)
        return self.job

    def publish(self, status: Status = "running") -> None:
        self.watchers.publish(self.move(status))


@pytest.fixture
async def shown() -> AsyncIterator[Shown]:
    made = Shown()
    yield made
    await made.watchers.close()


async def revisions(shown: Shown, after: int | None, most: int = 1_000) -> list[int]:
    got: list[int] = []
    async with asyncio.timeout(60), shown.watchers.watch(FIRST.id, after) as moments:
        async for job in moments:
            got.append(job.revision)
            if len(got) == most:
                break
    return got


async def test_watcher_reconnects_without_missing_revisions(shown: Shown) -> None:
    assert await revisions(shown, None, 1) == [5]
    for _ in range(4):
        shown.publish()
    assert await revisions(shown, 6, 3) == [7, 8, 9]
    assert await revisions(shown, None, 1) == [9]
    assert await revisions(shown, 1, 5) == [5, 6, 7, 8, 9]
    waiting = asyncio.create_task(revisions(shown, 9))
    await asyncio.sleep(0)
    shown.publish()
    shown.publish("succeeded")
    assert await waiting == [10, 11]


@pytest.mark.parametrize("after", [None, 3, 11, 99])
async def test_watcher_of_ended_job_gets_final_revision(shown: Shown, after: int | None) -> None:
    shown.move("failed", by=6)
    assert await revisions(shown, after) == [11]
    assert await revisions(shown, after) == [11]


async def test_watcher_sees_changes_of_other_process(shown: Shown) -> None:
    waiting = asyncio.create_task(revisions(shown, None))
    while not shown.looks:
        await asyncio.sleep(0)
    shown.move(by=3)
    looks = shown.looks
    while shown.looks == looks:
        await asyncio.sleep(0.01)
    shown.move("cancelled")
    assert await waiting == [5, 8, 9]


async def test_watchers_share_one_poll_and_job_objects(shown: Shown) -> None:
    got: list[list[Job]] = [[] for _ in range(1_000)]

    async def watch(mine: list[Job]) -> None:
        async with shown.watchers.watch(FIRST.id, None) as moments:
            async for job in moments:
                mine.append(job)  # noqa: PERF401 - it is looked at meanwhile

    watchers = [asyncio.create_task(watch(mine)) for mine in got]
    while not all(got):
        await asyncio.sleep(0)
    before, looks = len(asyncio.all_tasks()), shown.looks
    for _ in range(20):
        shown.publish()
        await asyncio.sleep(0)
    shown.publish("succeeded")
    await asyncio.gather(*watchers)
    assert before == 1_000 + 2  # themselves, this test, and one that looks
    assert shown.looks - looks <= 3
    assert [job.revision for job in got[0]] == list(range(5, 27))
    assert all(len(mine) == 22 and mine[-1] is got[0][-1] for mine in got)


async def test_slow_watcher_raises_too_slow(shown: Shown) -> None:
    async with shown.watchers.watch(FIRST.id) as slow, shown.watchers.watch(FIRST.id) as quick:
        assert (await anext(slow)).revision == 5
        for _ in range(MAX_REVISIONS + 1):
            assert await anext(quick)
            shown.publish()
        with pytest.raises(TooSlow, match="200 changes"):
            await anext(slow)
        assert (await anext(quick)).revision == 5 + MAX_REVISIONS + 1


async def test_watchers_end_on_drain(folder: Path) -> None:
    shelf = FakeTarget()
    held = shelf.hold("1")
    async with running_jobs(folder, None, shelf) as here:
        job = await here.send(ndjson([1]))
        seen: list[str] = []

        async def watch() -> None:
            async with here.jobs.watch(job.id) as moments:
                async for moment in moments:
                    seen.append(moment.status)
                    begun.set()

        begun = asyncio.Event()
        watchers = asyncio.create_task(watch())
        await begun.wait()
        here.lifecycle.drain()
        async with asyncio.timeout(60):
            await watchers
        held.set()
    assert "succeeded" not in seen


async def test_watcher_gets_every_revision(
    folder: Path,
) -> None:
    shelf = FakeTarget()
    middle, last = shelf.hold("19"), shelf.hold("29")
    got: list[int] = []
    async with running_jobs(folder, None, shelf) as here:
        job = await here.send(ndjson(range(30)))
        async with asyncio.timeout(60), here.jobs.watch(job.id, 0) as moments:
            async for job in moments:
                got.append(job.revision)
                if job.written == 10:  # the first batch of three
                    database = sqlite3.connect(folder / "jobs.db", isolation_level=None)
                    database.execute("BEGIN IMMEDIATE")  # nobody else can save now
                    middle.set()
                    await asyncio.sleep(2 * SAVE_INTERVAL_S)  # now somebody wants to
                    last.set()
                    await asyncio.sleep(SAVE_INTERVAL_S)
                    database.rollback()
                    database.close()
    assert job.status == "succeeded"
    assert got == list(range(got[0], got[-1] + 1))
