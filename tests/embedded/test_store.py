"""The store keeps what it has acknowledged, and tells what has changed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.embedded.store import Applied, Document, Put, Remove, Store
from tests.e2e.process import ROOT


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "records.db")
    yield opened
    opened.close()


def put(id: str, text: str = "", namespace: str = "n") -> Put:
    return Put(namespace, id, {"chunk_text": text or id}, {"chunk_text": b"\1\2\3\4"})


async def test_what_was_written_is_there_under_its_id_and_its_number(store: Store) -> None:
    applied = await store.write([put("a", "first"), put("b")])
    (document,) = store.by_id("n", ["a", "nobody"])
    assert document.fields == {"chunk_text": "first"}
    assert store.documents([document.docno]) == {document.docno: document}
    assert [each.id for each in applied.added] == ["a", "b"]
    assert applied.removed == []


async def test_a_changed_record_is_a_new_version_in_the_old_ones_place(store: Store) -> None:
    before = (await store.write([put("a", "old")])).added[0]
    applied = await store.write([put("a", "new")])
    assert [each.docno for each in applied.removed] == [before.docno]
    assert applied.removed[0].fields == {"chunk_text": "old"}
    assert applied.added[0].docno > before.docno
    assert [each.fields["chunk_text"] for each in store.by_id("n", ["a"])] == ["new"]


async def test_a_number_is_never_used_again(store: Store) -> None:
    first = (await store.write([put("a")])).added[0].docno
    await store.write([Remove("n", "a")])
    assert (await store.write([put("a")])).added[0].docno > first


async def test_a_batch_is_written_whole_or_not_at_all(store: Store) -> None:
    unwritable = Put("n", "bad", {"x": {1, 2}})
    with pytest.raises(TypeError):
        await store.write([put("a"), unwritable])
    assert store.by_id("n", ["a"]) == []
    assert (await store.write([put("b")])).added


async def test_a_bad_batch_does_not_spoil_those_that_share_its_transaction(store: Store) -> None:
    unwritable = Put("n", "bad", {"x": {1, 2}})
    writes = [store.write([put(str(i))]) for i in range(20)] + [store.write([unwritable])]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(each) for each in outcomes].count(Applied) == 20
    assert isinstance(outcomes[-1], TypeError)
    assert len(store.by_id("n", [str(i) for i in range(20)])) == 20


async def test_a_writer_that_gives_up_waiting_has_written_all_the_same(store: Store) -> None:
    writing = asyncio.ensure_future(store.write([put("a")]))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await store.write([put("b")])  # in order: when this is acknowledged, so is the other
    assert store.by_id("n", ["a"])


async def test_changes_tell_what_a_view_has_missed_and_nothing_that_came_and_went(
    store: Store,
) -> None:
    seen = (await store.write([put("stays"), put("goes"), put("changes", "old")])).seq
    gone = {each.docno for each in store.by_id("n", ["goes", "changes"])}
    await store.write([Remove("n", "goes"), put("changes", "new"), put("comes")])
    await store.write([put("passes")])
    last = await store.write([Remove("n", "passes")])
    missed = store.changes(seen, "chunk_text")
    assert missed.seq == last.seq
    assert {each.id for each in missed.added} == {"changes", "comes"}
    assert all(each.vectors == {"chunk_text": b"\1\2\3\4"} for each in missed.added)
    assert gone <= {each.docno for each in missed.removed}
    assert store.changes(last.seq).added == []


async def test_followers_are_told_in_the_order_of_the_log(tmp_path: Path) -> None:
    told: list[int] = []
    store = Store(tmp_path / "records.db", lambda applied: told.append(applied.seq))
    await asyncio.gather(*(store.write([put(str(i))]) for i in range(50)))
    store.close()
    assert told == sorted(told)
    assert told[-1] == 50


async def test_a_follower_that_fails_does_not_undo_a_commit(tmp_path: Path) -> None:
    def fail(_: Applied) -> None:
        raise RuntimeError("a view fell over")

    store = Store(tmp_path / "records.db", fail)
    assert (await store.write([put("a")])).added
    store.close()
    again = Store(tmp_path / "records.db")
    assert again.by_id("n", ["a"])
    again.close()


async def test_ids_come_in_pages(store: Store) -> None:
    await store.write([put(id) for id in ("b1", "a2", "a1", "a3")] + [put("a9", namespace="m")])
    assert store.ids("n", "a", "", 2) == ["a1", "a2"]
    assert store.ids("n", "a", "a2", 2) == ["a3"]
    assert store.ids("n", "", "", 10) == ["a1", "a2", "a3", "b1"]


async def test_a_scan_meets_every_record_once_with_its_vector(store: Store) -> None:
    await store.write([put(str(i)) for i in range(25)])
    batches: list[list[Document]] = list(store.scan("chunk_text", batch=10))
    assert [len(batch) for batch in batches] == [10, 10, 5]
    assert {each.id for batch in batches for each in batch} == {str(i) for i in range(25)}
    assert all(each.vectors for batch in batches for each in batch)


WRITER = """
import asyncio, sys
from pathlib import Path
from service.embedded.store import Put, Store

async def main():
    store = Store(Path(sys.argv[1]))
    for i in range(1_000_000):
        batch = [Put("n", f"{i}-{j}", {"chunk_text": "x" * 200}) for j in range(3)]
        await store.write(batch)
        print(i, flush=True)

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    rng = random.Random(7)
    for round_ in range(6):
        path = tmp_path / f"{round_}.db"
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            acknowledged = -1
            for _ in range(rng.randrange(1, 60)):
                acknowledged = int(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
            acknowledged = max(acknowledged, *map(int, process.stdout.read().split()), -1)
        store = Store(path)
        ids = {each.id for batch in store.scan() for each in batch}
        store.close()
        assert {f"{i}-{j}" for i in range(acknowledged + 1) for j in range(3)} <= ids
        assert len(ids) % 3 == 0, "a batch was written in part"
