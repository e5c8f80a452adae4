"""Import jobs from upload to end, on every database."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from pathlib import Path

import pytest

from service.errors import BodyTooLarge, InvalidRequest, NotFound
from service.jobs.job import LineError
from tests.ingest.fake_target import FakeTarget, failing_record
from tests.jobs.fixtures import ndjson, plan, remaining_uploads, running_jobs


async def test_job_writes_upload_and_deletes_file(folder: Path, url: str | None) -> None:
    target = FakeTarget()
    async with running_jobs(folder, url, target) as running:
        job = await running.send(ndjson(range(105)), name="some.ndjson")
        assert (job.status, job.written, job.revision) == ("queued", 0, 1)
        job = await running.wait_until_ended(job.id)
        assert (job.status, job.written, job.failed, job.detail) == ("succeeded", 105, 0, None)
        assert (job.progress, job.bytes_read, job.eta_s) == (1.0, job.bytes, None)
        assert job.plan == plan(name="some.ndjson")
        assert job.started_at is not None
        assert job.finished_at is not None
        assert job.created_at <= job.started_at <= job.finished_at
        assert await running.jobs.get(job.id) == job
        assert target.records.keys() == {str(n) for n in range(105)}
    assert remaining_uploads(folder) == []


async def test_job_reports_invalid_lines_with_numbers(folder: Path, url: str | None) -> None:
    lines = [*ndjson(range(5)).splitlines(), b"", b'{"_id": "x"}', b"{", b"[]"]
    target = FakeTarget(failing_record(1, "invalid_request", "too \0 deep"))
    async with running_jobs(folder, url, target) as running:
        job = await running.run_to_end(b"\n".join(lines) + b"\n" + ndjson([9]))
    assert (job.status, job.written, job.failed) == ("succeeded", 5, 4)
    assert dict(job.errors).keys() == {2, 7, 8, 9}
    assert dict(job.errors)[7].startswith("has no text: 'chunk_text' must be a text (text_field")
    assert dict(job.errors)[2] == "'1': too \ufffd deep"


async def test_job_keeps_first_errors_and_counts_all(folder: Path, url: str | None) -> None:
    async with running_jobs(folder, url, FakeTarget()) as running:
        job = await running.run_to_end(ndjson([1]) + b"{\n" * 3000)
    assert (job.status, job.written, job.failed) == ("succeeded", 1, 3000)
    assert [error.line for error in job.errors] == list(range(2, 102))


async def test_job_stop_on_error_ends_at_invalid_line(folder: Path) -> None:
    target = FakeTarget()
    async with running_jobs(folder, None, target) as running:
        job = await running.run_to_end(
            ndjson(range(15)) + b"{\n" + ndjson(range(20)), on_error="stop"
        )
    assert (job.status, job.written, job.failed) == ("failed", 15, 1)
    assert job.detail == f"Stopped at line 16, as on_error says: {job.errors[0].detail}"
    assert len(target.records) == 15


async def test_job_stop_on_error_ends_at_rejected_record(folder: Path) -> None:
    target = FakeTarget(failing_record(3, "invalid_request", "not this one"))
    async with running_jobs(folder, None, target) as running:
        job = await running.run_to_end(ndjson(range(50)), on_error="stop")
    assert (job.status, job.failed) == ("failed", 1)
    assert job.errors == (LineError(4, "'3': not this one"),)
    assert job.detail == "Stopped at line 4, as on_error says: '3': not this one"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "There is no record in the file"),
        (b"\n\n", "There is no record in the file"),
        (b"[{}]", "No record could be written; line 1: has no text"),
        (b"{}\n{}\n", "No record could be written; line 1: has no text"),
    ],
)
async def test_job_that_wrote_nothing_has_failed(folder: Path, data: bytes, sentence: str) -> None:
    async with running_jobs(folder, None, FakeTarget()) as running:
        job = await running.run_to_end(data)
    assert job.status == "failed"
    assert job.detail is not None
    assert job.detail.startswith(sentence)


async def test_job_with_truncated_gzip_has_failed(folder: Path) -> None:
    target = FakeTarget()
    packed = gzip.compress(ndjson(range(5000)))
    async with running_jobs(folder, None, target) as running:
        whole = await running.run_to_end(packed)
        assert (whole.status, whole.written) == ("succeeded", 5000)
        job = await running.run_to_end(packed[:-3000])
    assert job.status == "failed"
    assert job.detail is not None
    assert job.detail.startswith("The file can't be read any further: ")
    assert 0 < job.written < 5000
    assert remaining_uploads(folder) == []


async def test_job_writes_records_before_truncation(folder: Path) -> None:
    target = FakeTarget()
    assert len(range(25)) % target.batch_size, "the last batch is to be a part of one"
    async with running_jobs(folder, None, target) as running:
        job = await running.run_to_end(gzip.compress(ndjson(range(25)))[:-8])  # without its end
    assert (job.status, job.written, len(target.records)) == ("failed", 25, 25)


async def test_job_reads_csv_with_options(folder: Path) -> None:
    target = FakeTarget()
    rows = b'key;body;n\na;"one\ntwo";1\nb;;2\nc;three;3\n'
    options = {"delimiter": ";", "id_column": "key", "text_field": "body"}
    async with running_jobs(folder, None, target) as running:
        job = await running.run_to_end(rows, format="csv", **options)
        other = await running.run_to_end(rows, format="csv")
    assert target.records == {
        "a": {"_id": "a", "chunk_text": "one\ntwo", "n": 1},
        "c": {"_id": "c", "chunk_text": "three", "n": 3},
    }
    assert [error.line for error in job.errors] == [4]
    assert other.status == "failed"
    assert other.detail is not None
    assert other.detail.endswith("give another text_field, or the right delimiter")


async def test_job_keeps_later_record_of_duplicate_id(folder: Path) -> None:
    target = FakeTarget()
    async with running_jobs(folder, None, target) as running:
        data = b"".join(ndjson([n, "same"], f"text {n}") for n in range(40))
        job = await running.run_to_end(data)
    assert job.written == 80
    assert target.records["same"]["chunk_text"] == "text 39 same"


async def test_list_jobs_pages_newest_first(folder: Path, url: str | None) -> None:
    async with running_jobs(folder, url, FakeTarget()) as running:
        ids = [(await running.send(ndjson([n]))).id for n in range(5)]
        bad = (await running.run_to_end(b"{")).id
        for id in ids:
            await running.wait_until_ended(id)
        page = await running.jobs.list(4, None)
        assert [job.id for job in page.jobs] == [bad, *ids[:1:-1]]
        rest = await running.jobs.list(4, page.cursor)
        assert [job.id for job in rest.jobs] == ids[1::-1]
        assert rest.cursor is None
        failed = await running.jobs.list(4, None, "failed")
        assert [job.id for job in failed.jobs] == [bad]
        with pytest.raises(InvalidRequest, match="cursor"):
            await running.jobs.list(4, "nonsense")


@pytest.mark.parametrize("id", ["0" * 32, "x", "", "../jobs.db", "\0"])
async def test_unknown_job_id_raises_not_found(folder: Path, url: str | None, id: str) -> None:
    async with running_jobs(folder, url, FakeTarget()) as running:
        for call in (running.jobs.get, running.jobs.cancel):
            with pytest.raises(NotFound):
                await call(id)
        with pytest.raises(NotFound):
            async with running.jobs.watch(id):
                pass


async def test_oversized_or_aborted_upload_leaves_no_file(folder: Path) -> None:
    async with running_jobs(folder, None, FakeTarget(), max_bytes=3_000_000) as running:
        with pytest.raises(BodyTooLarge, match="3000000 bytes"):
            await running.send(b"x" * 3_000_001)
        async with running.jobs.receive(plan()) as upload:
            await upload.write(b"x" * 2_000_000)
            assert len(remaining_uploads(folder)) == 1
        assert remaining_uploads(folder) == []
        assert (await running.jobs.list(10, None)).jobs == []


async def test_upload_cancelled_leaves_no_file(folder: Path) -> None:
    async with running_jobs(folder, None, FakeTarget()) as running:
        begun = asyncio.Event()

        async def caller() -> None:
            async with running.jobs.receive(plan()) as upload:
                while True:
                    await upload.write(b"x" * 1_000)
                    begun.set()
                    await asyncio.sleep(0)

        task = asyncio.create_task(caller())
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
        assert remaining_uploads(folder) == []


@pytest.mark.parametrize("turns", range(1, 6))
async def test_upload_cancelled_at_start_leaves_no_file(folder: Path, turns: int) -> None:
    async with running_jobs(folder, None, FakeTarget()) as running:
        await running.jobs.list(1, None)

        async def caller() -> None:
            async with running.jobs.receive(plan()):
                await asyncio.Event().wait()

        callers = [asyncio.create_task(caller()) for _ in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for each in callers:
            each.cancel()
        await asyncio.wait(callers)
        assert remaining_uploads(folder) == []


async def test_two_job_services_in_one_process_start_concurrently(tmp_path: Path) -> None:
    """Alembic's migration context is global to the process."""
    async with contextlib.AsyncExitStack() as stack:
        folders = [tmp_path / str(n) for n in range(6)]
        entering = (
            stack.enter_async_context(running_jobs(each, None, FakeTarget())) for each in folders
        )
        for running in await asyncio.gather(*entering):
            assert (await running.jobs.list(1, None)).jobs == []
