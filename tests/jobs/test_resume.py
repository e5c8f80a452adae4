"""Interrupted imports: stopped, killed, cancelled, and resumed by another process."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import UpstreamKeyRejected, UpstreamRateLimited, UpstreamUnavailable
from service.jobs.spool import Spool
from tests.campaigns.imports import campaign
from tests.ingest.fake_target import FakeTarget
from tests.jobs.fixtures import ndjson, remaining_uploads, running_jobs

COUNT = 3_000


def table(count: int) -> bytes:
    """CSV with multi-line cells and an invalid line."""
    rows = [f'{n},"some\nwords {n}",{n % 7}\n' for n in range(count)]
    rows.insert(count // 2, "one cell\n")
    return b"\xef\xbb\xbfid,chunk_text,n\n" + "".join(rows).encode()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("format", ["ndjson", "csv"])
async def test_stopped_job_resumes(
    folder: Path, url: str | None, format: str, packed: bool
) -> None:
    data = table(COUNT) if format == "csv" else ndjson(range(COUNT)) + b"{\n"
    target = FakeTarget()
    id = ""
    at = [700, 1500, 2200]
    for place in at:
        target.hold(str(place))
        async with running_jobs(folder, url, target) as running:
            if not id:
                id = (await running.send(gzip.compress(data) if packed else data, format=format)).id
            async with asyncio.timeout(60):
                while not any(str(place) in ids for ids in target.calls):
                    await asyncio.sleep(0.005)
            running.lifecycle.drain()
            target.held.pop(str(place)).set()
        async with running_jobs(folder / "elsewhere", url, target) as other:
            if url is not None:  # another machine sees how far it has come
                job = await other.jobs.get(id)
                assert job.status == "queued"
                assert place - 300 <= job.written <= place + 300
    calls = len(target.calls)
    async with running_jobs(folder, url, target) as running:
        job = await running.wait_until_ended(id)
    assert (job.status, job.written, job.failed) == ("succeeded", COUNT, 1)
    assert len(job.errors) == 1
    assert target.records.keys() == {str(n) for n in range(COUNT)}
    assert 0 < len(target.calls) - calls <= (COUNT - at[-1]) / 10 + 30
    assert remaining_uploads(folder) == []


PASSAGES = "\n\n".join(f"Paragraph {n} " + "some words " * 65 for n in range(COUNT // 2))


@pytest.mark.parametrize(
    ("data", "options", "id"),
    [
        (json.dumps([{"_id": "a", "chunk_text": PASSAGES}]), {"split": True}, "a#{}"),
        (json.dumps({"_id": "a", "chunk_text": PASSAGES}), {"split": True}, "a#{}"),
        (PASSAGES, {"format": "text", "name": "a.txt"}, "a.txt#{}"),
        (ndjson(range(COUNT // 2)).decode(), {"split": True}, "{}#0"),
    ],
    ids=["array", "record", "text", "records"],
)
async def test_stopped_job_resumes_within_a_document(
    folder: Path, data: str, options: dict[str, Any], id: str
) -> None:
    target = FakeTarget()
    held = target.hold(id.format(700))
    async with running_jobs(folder, None, target) as running:
        job = await running.send(data.encode(), **options)
        async with asyncio.timeout(60):
            while not any(id.format(700) in ids for ids in target.calls):
                await asyncio.sleep(0.005)
        running.lifecycle.drain()
        held.set()
    calls = len(target.calls)
    async with running_jobs(folder, None, target) as running:
        job = await running.wait_until_ended(job.id)
    assert (job.status, job.written, job.failed) == ("succeeded", COUNT // 2, 0)
    assert target.records.keys() == {id.format(n) for n in range(COUNT // 2)}
    assert 0 < len(target.calls) - calls <= (COUNT // 2 - 600) / 10 + 30


async def test_resumed_job_starts_at_checkpoint(folder: Path) -> None:
    target = FakeTarget()
    held = target.hold("2000")
    async with running_jobs(folder, None, target) as running:
        job = await running.send(ndjson(range(2500)))
        await running.wait_for(job.id, lambda job: job.written >= 1_900)
        running.lifecycle.drain()
        held.set()
    spool = Spool(folder)
    path = folder / f"{job.id}.spool"
    data = path.read_bytes()
    path.write_bytes(b"x" * 50_000 + data[50_000:])  # counted as errors if it is read
    assert spool.has(job.id)
    async with running_jobs(folder, None, target) as running:
        job = await running.wait_until_ended(job.id)
    assert (job.status, job.written, job.failed) == ("succeeded", 2500, 0)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_job_survives_repeated_kills(database: str, request: pytest.FixtureRequest) -> None:
    if database == "postgres":
        request.getfixturevalue("postgres")
    outcome = campaign(kills=4, database=database, records=2_000, seed=7)
    assert (outcome.kills, outcome.files) == (4, 2)
    assert outcome.interrupted > 0


async def test_two_workers_on_one_folder_run_each_job_once(folder: Path, url: str | None) -> None:
    target = FakeTarget()
    async with running_jobs(folder, url, target) as one, running_jobs(folder, url, target) as other:
        jobs = [
            await running.send(ndjson(range(n, n + 100)))
            for n, running in zip(range(0, 2_000, 100), [one, other] * 10, strict=True)
        ]
        ended = [await one.wait_until_ended(job.id) for job in jobs]
    assert all((job.status, job.written, job.failed) == ("succeeded", 100, 0) for job in ended)
    written = [id for ids in target.calls for id in ids]
    assert sorted(written) == sorted(str(n) for n in range(2_000))
    assert remaining_uploads(folder) == []


async def test_cancel_queued_job_at_once(folder: Path, url: str | None) -> None:
    target = FakeTarget()
    held = target.hold("first")
    async with running_jobs(folder, url, target) as running:
        first = await running.send(ndjson(["first"]))
        second = await running.send(ndjson(["second"]))
        job = await running.jobs.cancel(second.id)
        assert (job.status, job.written, job.started_at) == ("cancelled", 0, None)
        assert job.finished_at is not None
        assert remaining_uploads(folder) == [f"{first.id}.spool"]
        held.set()
        assert (await running.wait_until_ended(first.id)).status == "succeeded"
        assert await running.jobs.cancel(second.id) == job
        done = await running.jobs.get(first.id)
        assert await running.jobs.cancel(first.id) == done
    assert list(target.records) == ["first"]


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_cancel_running_job_from_any_process(
    folder: Path, url: str | None, elsewhere: bool
) -> None:
    target = FakeTarget(*[None] * 20, *[UpstreamRateLimited("slow down", retry_after=600.0)] * 9)
    async with (
        running_jobs(folder, url, target) as running,
        running_jobs(folder, url, target) as other,
    ):
        job = await running.send(ndjson(range(5_000)))
        await running.wait_for(job.id, lambda job: job.written >= 150)
        mine = running if running.jobs._worker and running.jobs._worker._run else other
        theirs = other if mine is running else running
        job = await (theirs if elsewhere else mine).jobs.cancel(job.id)
        assert job.status == "cancelled"
        assert 150 <= job.written <= len(target.records) < 5_000
        assert job.failed == 0
    assert remaining_uploads(folder) == []


async def test_cancel_job_of_dead_process(folder: Path, url: str | None) -> None:
    """The job has the status running, but no process runs it."""
    target = FakeTarget()
    held = target.hold("other")
    async with running_jobs(folder, url, target) as running:
        job = await running.send(ndjson(range(10)))
        await running.wait_until_ended(job.id)
        busy = await running.send(ndjson(["other"]))
        await running.wait_for(busy.id, lambda job: job.status == "running")
        waiting = await running.send(ndjson(["waits"]))
        opened = await running.jobs._opener.get()
        await opened.store.claim(waiting.id)
        job = await running.jobs.cancel(waiting.id)
        assert job.status == "cancelled"
        held.set()
    assert "waits" not in target.records


async def test_job_waits_for_unavailable_upstream(folder: Path) -> None:
    target = FakeTarget(*[UpstreamUnavailable("down")] * 3)
    async with running_jobs(folder, None, target) as running:
        job = await running.run_to_end(ndjson(range(40)))
    assert (job.status, job.written, job.failed) == ("succeeded", 40, 0)
    assert job.retries >= 3


async def test_job_fails_with_final_error(folder: Path) -> None:
    target = FakeTarget(None, None, UpstreamKeyRejected("the key was rejected"))
    async with running_jobs(folder, None, target) as running:
        job = await running.run_to_end(ndjson(range(400)))
    assert (job.status, job.detail) == ("failed", "the key was rejected")
    assert remaining_uploads(folder) == []


async def test_unexpected_error_fails_one_job_only(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = FakeTarget(ZeroDivisionError("secret inside"))
    async with running_jobs(folder, None, target) as running:
        job = await running.run_to_end(ndjson(range(10)))
        assert job.status == "failed"
        assert job.detail == "An internal error ended it; the log of the service says more"
        assert (await running.run_to_end(ndjson(range(10)))).status == "succeeded"
    assert "unexpected error" in caplog.text
