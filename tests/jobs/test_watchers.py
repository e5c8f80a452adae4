"""Watchers of jobs: every revision in order, one poll for all, and an end to each watch."""

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


class PolledJob:
    """A job that other processes change, and that the watchers poll."""

    def __init__(self) -> None:
        self.job = FIRST
        self.polls = 0
        self.watchers = Watchers(self._read)

    async def _read(self, ids: Sequence[str]) -> list[Job]:
        self.polls += 1
        return [self.job] if self.job.id in ids else []

    def move(self, status: Status = "running", by: int = 1) -> Job:
        self.job = replace(self.job, revision=self.job.revision + by, status=status)
        return self.job

    def publish(self, status: Status = "running") -> None:
        self.watchers.publish(self.move(status))


@pytest.fixture
async def polled_job() -> AsyncIterator[PolledJob]:
    made = PolledJob()
    yield made
    await made.watchers.close()


async def revisions(polled_job: PolledJob, after: int | None, most: int = 1_000) -> list[int]:
    got: list[int] = []
    async with asyncio.timeout(60), polled_job.watchers.watch(FIRST.id, after) as changes:
        async for job in changes:
            got.append(job.revision)
            if len(got) == most:
                break
    return got


async def test_watcher_reconnects_without_missing_revisions(polled_job: PolledJob) -> None:
    assert await revisions(polled_job, None, 1) == [5]
    for _ in range(4):
        polled_job.publish()
    assert await revisions(polled_job, 6, 3) == [7, 8, 9]
    assert await revisions(polled_job, None, 1) == [9]
    assert await revisions(polled_job, 1, 5) == [5, 6, 7, 8, 9]
    waiting = asyncio.create_task(revisions(polled_job, 9))
    await asyncio.sleep(0)
    polled_job.publish()
    polled_job.publish("succeeded")
    assert await waiting == [10, 11]


@pytest.mark.parametrize("after", [None, 3, 11, 99])
async def test_watcher_of_ended_job_gets_final_revision(
    polled_job: PolledJob, after: int | None
) -> None:
    polled_job.move("failed", by=6)
    assert await revisions(polled_job, after) == [11]
    assert await revisions(polled_job, after) == [11]


async def test_watcher_sees_changes_of_other_process(polled_job: PolledJob) -> None:
    waiting = asyncio.create_task(revisions(polled_job, None))
    while not polled_job.polls:
        await asyncio.sleep(0)
    polled_job.move(by=3)
    polls = polled_job.polls
    while polled_job.polls == polls:
        await asyncio.sleep(0.01)
    polled_job.move("cancelled")
    assert await waiting == [5, 8, 9]


async def test_watchers_share_one_poll_and_job_objects(polled_job: PolledJob) -> None:
    got: list[list[Job]] = [[] for _ in range(1_000)]

    async def watch(mine: list[Job]) -> None:
        async with polled_job.watchers.watch(FIRST.id, None) as changes:
            async for job in changes:
                mine.append(job)  # noqa: PERF401 - it is looked at meanwhile

    watchers = [asyncio.create_task(watch(mine)) for mine in got]
    while not all(got):
        await asyncio.sleep(0)
    before, polls = len(asyncio.all_tasks()), polled_job.polls
    for _ in range(20):
        polled_job.publish()
        await asyncio.sleep(0)
    polled_job.publish("succeeded")
    await asyncio.gather(*watchers)
    assert before == 1_000 + 2  # the watchers, this test, and one poller
    assert polled_job.polls - polls <= 3
    assert [job.revision for job in got[0]] == list(range(5, 27))
    assert all(len(mine) == 22 and mine[-1] is got[0][-1] for mine in got)


async def test_slow_watcher_raises_too_slow(polled_job: PolledJob) -> None:
    async with (
        polled_job.watchers.watch(FIRST.id) as slow,
        polled_job.watchers.watch(FIRST.id) as quick,
    ):
        assert (await anext(slow)).revision == 5
        for _ in range(MAX_REVISIONS + 1):
            assert await anext(quick)
            polled_job.publish()
        with pytest.raises(TooSlow, match="200 changes"):
            await anext(slow)
        assert (await anext(quick)).revision == 5 + MAX_REVISIONS + 1


async def test_watchers_end_on_drain(folder: Path) -> None:
    target = FakeTarget()
    held = target.hold("1")
    async with running_jobs(folder, None, target) as running:
        job = await running.send(ndjson([1]))
        seen: list[str] = []

        async def watch() -> None:
            async with running.jobs.watch(job.id) as changes:
                async for moment in changes:
                    seen.append(moment.status)
                    begun.set()

        begun = asyncio.Event()
        watchers = asyncio.create_task(watch())
        await begun.wait()
        running.lifecycle.drain()
        async with asyncio.timeout(60):
            await watchers
        held.set()
    assert "succeeded" not in seen


async def test_watcher_gets_every_revision(
    folder: Path,
) -> None:
    target = FakeTarget()
    middle, last = target.hold("19"), target.hold("29")
    got: list[int] = []
    async with running_jobs(folder, None, target) as running:
        job = await running.send(ndjson(range(30)))
        async with asyncio.timeout(60), running.jobs.watch(job.id, 0) as changes:
            async for job in changes:
                got.append(job.revision)
                if job.written == 10:  # the first batch of three
                    database = sqlite3.connect(folder / "jobs.db", isolation_level=None)
                    database.execute("BEGIN IMMEDIATE")  # blocks other writers
                    middle.set()
                    await asyncio.sleep(2 * SAVE_INTERVAL_S)  # a save is waiting
                    last.set()
                    await asyncio.sleep(SAVE_INTERVAL_S)
                    database.rollback()
                    database.close()
    assert job.status == "succeeded"
    assert got == list(range(got[0], got[-1] + 1))
