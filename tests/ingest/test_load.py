"""Loads: no record is lost or reordered, errors are reported, checkpoints are exact."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import (
    CommandFailed,
    RequestError,
    Unavailable,
    UpstreamRateLimited,
    UpstreamUnreachable,
)
from service.ingest.batch_writer import RetryPolicy
from service.ingest.batches import MAX_BYTES, batches
from service.ingest.checkpoint import Checkpoint, CheckpointFile
from service.ingest.load import Load
from service.ingest.record import Item, Record, RecordError
from service.ingest.target import Target
from tests.ingest.fake_target import FakeTarget, failing_record

QUICK = RetryPolicy(attempts=3, first_s=0.001, longest_s=0.002)


def make_items(*ids: str | int, size: int = 10) -> list[Item]:
    return [Record(f"line {id}", {"_id": str(id), "chunk_text": "x"}, size) for id in ids]


class LoadRun:
    """A load and the errors that it reported."""

    def __init__(self, target: Target, **options: Any) -> None:
        self.errors: list[str] = []
        options = {"retry_policy": QUICK} | options
        self.load = Load(target, "", report=lambda f: self.errors.append(str(f)), **options)

    async def run(self, items: Sequence[Item], size: int = 10, skip: int = 0) -> None:
        async with asyncio.timeout(60):
            await self.load.run(batches(items, size, skip))


async def test_load_writes_every_record_with_few_batches_in_flight() -> None:
    target = FakeTarget()
    load_run = LoadRun(target, concurrency=3)
    await load_run.run(make_items(*range(105)))
    assert target.records.keys() == {str(n) for n in range(105)}
    assert (load_run.load.counts.written, load_run.load.counts.failed) == (105, 0)
    assert target.most_in_flight <= 3


async def test_load_parses_no_more_than_it_can_send() -> None:
    target = FakeTarget()
    first = target.hold("0")
    taken = 0

    def items() -> Any:
        nonlocal taken
        for taken in range(1, 101):
            yield from make_items(taken - 1)

    for id in ("10", "20"):
        target.hold(id)
    load_run = LoadRun(target, concurrency=3)
    running = asyncio.create_task(load_run.load.run(batches(items(), 10)))
    while target.in_flight < 3 or taken < 40:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert taken == 40
    for event in (first, *target.held.values()):
        event.set()
    await running
    assert len(target.records) == 100


async def test_load_keeps_later_record_of_duplicate_id() -> None:
    items: list[Item] = [
        Record(f"line {n}", {"_id": "same" if n % 3 == 0 else str(n), "n": n}, 10)
        for n in range(100)
    ]
    target = FakeTarget()
    await LoadRun(target, concurrency=8).run(items, size=7)
    assert target.records["same"]["n"] == 99
    for ids in target.calls:
        assert len(set(ids)) == len(ids)


async def test_load_keeps_order_of_records_with_one_id() -> None:
    target = FakeTarget()
    slow = target.hold("slow")
    load_run = LoadRun(target, concurrency=4)
    running = asyncio.create_task(load_run.run(make_items("slow", "same", "other", "same"), size=2))
    while not target.calls:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert target.calls == [["slow", "same"]]
    slow.set()
    await running
    assert target.calls == [["slow", "same"], ["other", "same"]]


async def test_load_limits_batch_bytes() -> None:
    target = FakeTarget()
    await LoadRun(target).run(make_items(*range(6), size=MAX_BYTES // 2))
    assert [len(ids) for ids in target.calls] == [2, 2, 2]


@pytest.mark.parametrize(
    "trouble", [Unavailable("later"), UpstreamRateLimited("slow down", retry_after=0.0)]
)
async def test_load_retries_transient_error(trouble: RequestError) -> None:
    target = FakeTarget(trouble, trouble)
    load_run = LoadRun(target)
    await load_run.run(make_items(1, 2))
    assert list(target.records) == ["1", "2"]
    assert load_run.load.retries == 2


async def test_load_retries_only_failed_records_of_batch() -> None:
    target = FakeTarget(
        failing_record(1, "upstream_rate_limited"), failing_record(0, "upstream_unavailable")
    )
    load_run = LoadRun(target)
    await load_run.run(make_items(1, 2, 3))
    assert target.calls == [["1", "2", "3"], ["2"], ["2"]]
    assert (load_run.load.counts.written, load_run.load.counts.failed) == (3, 0)


async def test_load_ends_with_persistent_error(tmp_path: Path) -> None:
    checkpoint_file = CheckpointFile(tmp_path / "state", {})
    target = FakeTarget(None, *[UpstreamUnreachable("nobody there")] * 3)
    load_run = LoadRun(target, concurrency=1, checkpoints=checkpoint_file)
    with pytest.raises(UpstreamUnreachable, match="nobody there"):
        await load_run.run(make_items(*range(50)))
    assert list(target.records) == [str(n) for n in range(10)]
    assert checkpoint_file.read() == Checkpoint(10, 10, 0)


async def test_load_reports_rejected_record_with_location() -> None:
    target = FakeTarget(failing_record(1, "invalid_request", "n: too deep"))
    load_run = LoadRun(target)
    await load_run.run(make_items("a", "b", "c"))
    assert load_run.errors == ["line b: 'b': n: too deep"]
    assert list(target.records) == ["a", "c"]
    assert (load_run.load.counts.written, load_run.load.counts.failed) == (2, 1)


async def test_load_splits_batch_that_is_too_large() -> None:
    target = FakeTarget(largest=3)
    load_run = LoadRun(target)
    await load_run.run(make_items(*range(10)))
    assert len(target.records) == 10
    assert load_run.load.counts.written == 10


async def test_load_finds_rejected_record_of_batch() -> None:
    target = FakeTarget(refuses="6")
    load_run = LoadRun(target)
    await load_run.run(make_items(*range(10)))
    assert load_run.errors == ["line 6: '6': not one of these"]
    assert sorted(target.records) == [str(n) for n in range(10) if n != 6]


async def test_load_ends_if_every_record_is_rejected() -> None:
    target = FakeTarget(largest=0)
    load_run = LoadRun(target, concurrency=1)
    with pytest.raises(CommandFailed, match="the first 100 records were all refused"):
        await load_run.run(make_items(*range(5000)))
    assert len(target.calls) < 300


async def test_load_checkpoint_stays_before_first_pending_batch(tmp_path: Path) -> None:
    checkpoint_file = CheckpointFile(tmp_path / "state", {})
    target = FakeTarget()
    second = target.hold("10")
    load_run = LoadRun(target, concurrency=4, checkpoints=checkpoint_file)
    running = asyncio.create_task(load_run.run(make_items(*range(40))))
    while len(target.records) < 30:
        await asyncio.sleep(0.001)
    assert checkpoint_file.read() == Checkpoint(10, 10, 0)
    second.set()
    await running
    assert checkpoint_file.read() == Checkpoint(40, 40, 0)


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(0, 60),
    bad=st.sets(st.integers(0, 60)),
    stops=st.lists(st.integers(0, 70), max_size=4),
    size=st.integers(1, 9),
)
def test_load_resumed_anywhere_counts_every_item_once(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    bad: set[int],
    stops: list[int],
    size: int,
) -> None:
    """A batch may be written twice if its checkpoint was not saved; upserts are idempotent."""
    items: list[Item] = [
        RecordError(f"line {n}", "bad") if n in bad else make_items(n % 50)[0] for n in range(count)
    ]
    checkpoint_file = CheckpointFile(tmp_path_factory.mktemp("state") / "state", {})
    target = FakeTarget()
    position = 0

    async def run(stop_at: int) -> int:
        begin = checkpoint_file.read() or Checkpoint()
        assert begin.position >= position
        load_run = LoadRun(target, checkpoints=checkpoint_file, start=begin, concurrency=3)

        def until() -> Iterator[Item]:
            for number, item in enumerate(items):
                if number == stop_at:
                    load_run.load.stop()
                yield item

        await load_run.load.run(batches(until(), size, begin.position))
        return begin.failed + load_run.load.counts.failed

    async def all_runs() -> int:
        nonlocal position
        for stop_at in stops:
            await run(stop_at)
            position = (checkpoint_file.read() or Checkpoint()).position
        return await run(-1)

    assert asyncio.run(all_runs()) == sum(isinstance(item, RecordError) for item in items)
    assert target.records.keys() == {r.fields["_id"] for r in items if isinstance(r, Record)}


async def test_load_stop_waits_for_batches_in_flight(tmp_path: Path) -> None:
    checkpoint_file = CheckpointFile(tmp_path / "state", {})
    target = FakeTarget()
    held = target.hold("0")
    load_run = LoadRun(target, concurrency=1, checkpoints=checkpoint_file)
    running = asyncio.create_task(load_run.run(make_items(*range(50))))
    while not target.calls:
        await asyncio.sleep(0.001)
    load_run.load.stop()
    await asyncio.sleep(0.01)
    assert not running.done()
    held.set()
    await running
    assert len(target.calls) == 1
    assert checkpoint_file.read() == Checkpoint(10, 10, 0)


async def test_load_stop_does_not_wait_for_retry() -> None:
    target = FakeTarget(UpstreamRateLimited("slow down", retry_after=600.0))
    load_run = LoadRun(target, retry_policy=RetryPolicy(longest_s=600.0))
    running = asyncio.create_task(load_run.run(make_items(1)))
    while not load_run.load.retries:
        await asyncio.sleep(0.001)
    load_run.load.stop()
    await running
    assert target.records == {}


async def test_load_stop_on_error() -> None:
    target = FakeTarget()
    load_run = LoadRun(target, stop_on_error=True, concurrency=1)
    items = [*make_items(*range(20)), RecordError("line 20", "bad"), *make_items(*range(30, 60))]
    with pytest.raises(CommandFailed, match="stopped at the first error"):
        await load_run.run(items)
    assert load_run.errors == ["line 20: bad"]
    assert len(target.records) == 20


async def test_load_of_errors_only_has_bounded_memory() -> None:
    found = list(batches((RecordError(f"line {n}", "bad") for n in range(5000)), 10))
    assert [len(batch.errors) for batch in found] == [1000] * 5


def test_checkpoint_of_other_load_or_damaged_file_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "state"
    CheckpointFile(path, {"file": "a"}).save(Checkpoint(1, 1, 0))
    assert CheckpointFile(path, {"file": "a"}).read() == Checkpoint(1, 1, 0)
    assert CheckpointFile(path, {"file": "b"}).read() is None
    held = json.loads(path.read_text())
    for content in ("", "[]", "{}", json.dumps(held | {"position": "x"})):
        path.write_text(content)
        assert CheckpointFile(path, {"file": "a"}).read() is None
    CheckpointFile(path, {}).clear()
    assert not path.exists()
    with pytest.raises(CommandFailed, match="--state"):
        CheckpointFile(tmp_path / "no" / "state", {}).save(Checkpoint())
