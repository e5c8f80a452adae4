"""Store: durable writes, reads, change log and snapshots."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.embedded.storage.database import FORMAT, UnsupportedFormat
from service.embedded.storage.operations import (
    ClearNamespace,
    CreateNamespace,
    Delete,
    DeleteVersion,
    DropNamespace,
    Put,
    SetMetadata,
    TrimLog,
    VersionConflict,
    WriteResult,
)
from service.embedded.storage.store import Document, Store
from tests.e2e.process import ROOT

VECTOR = b"\1\2\3\4"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as store:
        yield store


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Store]:
    store = Store(folder / "records.db")
    try:
        yield store
    finally:
        store.close()


def put(id: str, text: str = "", namespace: str = "n", expected_docno: int | None = None) -> Put:
    return Put(
        namespace, id, {"text": text or id}, {"text": VECTOR, "raw": b"5678"}, expected_docno
    )


def current(store: Store, id: str, namespace: str = "n") -> Document:
    (document,) = store.documents_by_id(namespace, [id])
    return document


def ids(documents: list[Document]) -> list[str]:
    return [each.id for each in documents]


# --- writing ---------------------------------------------------------------------------------


async def test_written_record_is_found_by_id_and_docno(store: Store) -> None:
    assert await store.write([put("a", "first"), put("b")]) == WriteResult(
        seq=2, added=2, removed=0
    )
    (document,) = store.documents_by_id("n", ["a", "nobody"])
    assert document.fields == {"text": "first"}
    assert store.documents_by_docno([document.docno, 99]) == {document.docno: document}
    assert store.documents_by_id("elsewhere", ["a"]) == []


async def test_load_vectors_fills_one_field_or_all(store: Store) -> None:
    await store.write([put("a")])
    assert current(store, "a").vectors == {}
    for field, expected in (
        (None, {"text": VECTOR, "raw": b"5678"}),
        ("text", {"text": VECTOR}),
        ("other", {}),
    ):
        document = current(store, "a")
        store.load_vectors([document], field)
        assert document.vectors == expected


async def test_put_existing_id_replaces_version(store: Store) -> None:
    await store.write([put("a", "old")])
    before = current(store, "a")
    assert await store.write([put("a", "new")]) == WriteResult(seq=3, added=1, removed=1)
    after = current(store, "a")
    assert after.fields == {"text": "new"}
    assert after.docno > before.docno
    assert store.documents_by_docno([before.docno]) == {}
    store.load_vectors([before])
    assert before.vectors == {}, "the vectors of the old version have gone with it"


async def test_docno_is_never_reused(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await store.write([put("a")])
        first = current(store, "a").docno
        await store.write([Delete("n", "a")])
    with opened(tmp_path) as store:
        await store.write([put("a")])
        assert current(store, "a").docno > first


async def test_put_with_outdated_docno_raises_version_conflict(store: Store) -> None:
    await store.write([put("a", "one")])
    read = current(store, "a").docno
    await store.write([put("a", "two", expected_docno=read)])
    with pytest.raises(VersionConflict):
        await store.write([put("b"), put("a", "three", expected_docno=read)])
    assert current(store, "a").fields == {"text": "two"}
    assert store.documents_by_id("n", ["b"]) == [], "nor was the rest of the batch written"


async def test_delete_version_ignores_outdated_version(store: Store) -> None:
    await store.write([put("a", "one")])
    old = current(store, "a").docno
    await store.write([put("a", "two")])
    assert (await store.write([DeleteVersion(old)])).removed == 0
    assert (await store.write([DeleteVersion(current(store, "a").docno)])).removed == 1
    assert store.documents_by_id("n", ["a"]) == []


async def test_write_is_atomic(store: Store) -> None:
    unwritable = Put("n", "bad", {"x": {1, 2}})
    with pytest.raises(TypeError):
        await store.write([put("a"), unwritable])
    assert store.documents_by_id("n", ["a"]) == []
    assert store.last_seq() == 0
    assert (await store.write([put("b")])).added == 1


async def test_failed_write_does_not_affect_its_commit_group(store: Store) -> None:
    unwritable = Put("n", "bad", {"x": {1, 2}})
    writes = [store.write([put(str(i))]) for i in range(20)] + [store.write([unwritable])]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(each) for each in outcomes].count(WriteResult) == 20
    assert isinstance(outcomes[-1], TypeError)
    assert len(store.documents_by_id("n", [str(i) for i in range(20)])) == 20


async def test_group_commit_returns_result_of_each_write(
    tmp_path: Path,
) -> None:
    commits = 0
    holding, held = threading.Event(), threading.Event()

    def committed() -> None:
        nonlocal commits
        commits += 1
        if commits == 1:
            held.set()
            assert holding.wait(60)

    store = Store(tmp_path / "records.db", committed)
    first = asyncio.ensure_future(store.write([put("first")]))
    await asyncio.to_thread(held.wait, 10)
    together = [asyncio.ensure_future(store.write([put(str(i)), put("x")])) for i in range(30)]
    await asyncio.sleep(0)  # all of them have been handed over
    holding.set()
    assert (await first).seq == 1
    outcomes = await asyncio.gather(*together)
    store.close()
    assert commits == 2
    assert [each.removed for each in outcomes] == [0] + [1] * 29
    seqs = [each.seq for each in outcomes]
    assert seqs == sorted(set(seqs)), "each was told the last change of its own"


async def test_cancelled_write_still_commits(store: Store) -> None:
    writing = asyncio.ensure_future(store.write([put("a")]))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await store.write([put("b")])  # in order: when this is acknowledged, so is the other
    assert store.documents_by_id("n", ["a"])


async def test_close_finishes_queued_writes_and_rejects_new_ones(tmp_path: Path) -> None:
    store = Store(tmp_path / "records.db")
    writes = [asyncio.ensure_future(store.write([put(str(i))])) for i in range(300)]
    await asyncio.sleep(0)
    await asyncio.to_thread(store.close)
    assert all(each.added for each in await asyncio.gather(*writes))
    with pytest.raises(sqlite3.ProgrammingError):
        await store.write([put("late")])
    with opened(tmp_path) as again:
        assert len(again.list_ids("n", "", "", 1000)) == 300


# --- reading ---------------------------------------------------------------------------------


async def test_list_ids_pages_by_prefix(store: Store) -> None:
    await store.write([put(id) for id in ("b1", "a2", "a1", "a3")] + [put("a9", namespace="m")])
    assert store.list_ids("n", "a", "", 2) == ["a1", "a2"]
    assert store.list_ids("n", "a", "a2", 2) == ["a3"]
    assert store.list_ids("n", "", "", 10) == ["a1", "a2", "a3", "b1"]
    assert store.list_ids("n", "a2", "a1", 10) == ["a2"]
    assert store.list_ids("n", "c", "", 10) == []


async def test_list_ids_prefix_is_not_a_pattern(store: Store) -> None:
    await store.write([put(id) for id in ("a%", "a_b", "ab", "A", "a\x7f", "a~")])
    assert store.list_ids("n", "a%", "", 10) == ["a%"]
    assert store.list_ids("n", "a_", "", 10) == ["a_b"]
    assert store.list_ids("n", "a", "", 10) == ["a%", "a_b", "ab", "a~", "a\x7f"]
    assert store.list_ids("n", "a\x7f", "", 10) == ["a\x7f"]


async def test_namespace_counts_include_created_and_used_namespaces(store: Store) -> None:
    await store.write(
        [put("a"), put("b", namespace="m"), CreateNamespace("empty"), CreateNamespace("m")]
    )
    assert store.namespace_counts() == {"n": 1, "m": 1, "empty": 0}
    assert (await store.write([ClearNamespace("n"), ClearNamespace("m")])).removed == 2
    assert store.namespace_counts() == {"m": 0, "empty": 0}
    await store.write([DropNamespace("m"), DropNamespace("never there")])
    assert store.namespace_counts() == {"empty": 0}


async def test_metadata_is_set_replaced_and_deleted(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert store.metadata("embedder") is None
        store.write_sync([SetMetadata("embedder", "one"), SetMetadata("other", "x")])
        store.write_sync([SetMetadata("embedder", "two"), SetMetadata("other", None)])
    with opened(tmp_path) as store:
        assert store.metadata("embedder") == "two"
        assert store.metadata("other") is None


# --- the log ---------------------------------------------------------------------------------


async def test_changes_omit_documents_added_and_removed_in_batch(store: Store) -> None:
    seen = (await store.write([put("stays"), put("goes"), put("changes", "old")])).seq
    gone = {each.docno for each in store.documents_by_id("n", ["goes", "changes"])}
    await store.write([Delete("n", "goes"), put("changes", "new"), put("comes")])
    await store.write([put("passes")])
    last = await store.write([Delete("n", "passes")])
    missed = store.changes(seen, 1000, "text")
    assert missed.seq == last.seq == store.last_seq()
    assert {each.id for each in missed.added} == {"changes", "comes"}
    assert all(each.vectors == {"text": VECTOR} for each in missed.added)
    assert {each.docno for each in missed.removed} == gone
    nothing = store.changes(last.seq, 1000)
    assert (nothing.seq, nothing.added, nothing.removed) == (last.seq, [], [])


async def test_changes_include_content_of_removed_document(store: Store) -> None:
    seen = (await store.write([put("a", "said", namespace="m")])).seq
    await store.write([ClearNamespace("m")])
    (removed,) = store.changes(seen, 10).removed
    assert (removed.namespace, removed.id, removed.fields) == ("m", "a", {"text": "said"})


async def test_changes_converge_for_any_batch_size(store: Store) -> None:
    """This includes documents that are added and removed within one batch."""
    rng = random.Random(3)
    for _ in range(120):
        id = str(rng.randrange(6))
        await store.write([put(id, str(rng.random())) if rng.random() < 0.7 else Delete("n", id)])
    expected = {
        each.docno: each.fields for each in store.documents_by_id("n", [*map(str, range(6))])
    }
    for window in (1, 2, 3, 7, 1000):
        at, held = 0, dict[int, dict[str, object]]()
        while (changes := store.changes(at, window)).seq > at:
            at = changes.seq
            for each in changes.removed:
                assert held.pop(each.docno) == each.fields, "it was told as it had been added"
            assert not held.keys() & {each.docno for each in changes.added}
            held.update((each.docno, each.fields) for each in changes.added)
        assert held == expected
        assert at == store.last_seq()


async def test_trim_log_advances_log_trimmed_to(store: Store) -> None:
    await store.write([put(str(i)) for i in range(10)])
    assert store.log_trimmed_to() == 0
    await store.write([TrimLog(6)])
    assert store.log_trimmed_to() == 6
    assert ids(store.changes(6, 100).added) == ["6", "7", "8", "9"]
    await store.write([TrimLog(4)])
    assert store.log_trimmed_to() == 6, "what was cut does not come back"
    await store.write([TrimLog(10)])
    assert store.last_seq() == 10
    assert (await store.write([put("next")])).seq == 11


async def test_snapshot_is_isolated_from_later_writes(store: Store) -> None:
    await store.write([put(str(i)) for i in range(25)])
    with store.snapshot("text", batch=10) as snapshot:
        assert (snapshot.seq, snapshot.total) == (25, 25)
        first = next(snapshot.batches)
        await store.write([ClearNamespace("n"), put("new")])
        rest = list(snapshot.batches)
    assert [len(batch) for batch in [first, *rest]] == [10, 10, 5]
    seen = [each for batch in [first, *rest] for each in batch]
    assert {each.id for each in seen} == {str(i) for i in range(25)}
    assert all(each.vectors == {"text": VECTOR} for each in seen)
    assert store.list_ids("n", "", "", 100) == ["new"], "and after it this thread sees what is new"


async def test_snapshot_left_early_ends_transaction(store: Store) -> None:
    await store.write([put(str(i)) for i in range(25)])
    with contextlib.suppress(KeyError), store.snapshot(batch=10) as snapshot:
        next(snapshot.batches)
        raise KeyError
    await store.write([put("new")])
    with store.snapshot() as snapshot:
        assert snapshot.total == 26


# --- the file --------------------------------------------------------------------------------


def test_open_other_format_raises_and_keeps_file(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    path = tmp_path / "records.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(UnsupportedFormat, match=f"format {FORMAT + 1}"):
        Store(path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (FORMAT + 1,)


def open_files(folder: Path) -> int:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("open files are counted in /proc, which is not there")
    names = []
    for each in descriptors.iterdir():
        with contextlib.suppress(OSError):
            names.append(str(each.readlink()))
    return sum(name.startswith(str(folder)) for name in names)


@pytest.mark.parametrize("reason", ["closed", "other format", "damaged"])
async def test_close_or_failed_open_leaks_no_file_or_thread(tmp_path: Path, reason: str) -> None:
    threads = threading.active_count()
    if reason == "closed":
        with opened(tmp_path) as store, ThreadPoolExecutor(16) as pool:
            await store.write([put("a")])
            together = threading.Barrier(16, timeout=60)

            def read(_: int) -> list[Document]:
                together.wait()
                return store.documents_by_id("n", ["a"])

            assert all(pool.map(read, range(16)))
            assert open_files(tmp_path) > 16
    elif reason == "other format":
        with contextlib.closing(sqlite3.connect(tmp_path / "records.db")) as other:
            other.execute("CREATE TABLE documents (x)")
        with pytest.raises(UnsupportedFormat):
            Store(tmp_path / "records.db")
    else:
        (tmp_path / "records.db").write_bytes(b"no database" * 1000)
        with pytest.raises(sqlite3.DatabaseError):
            Store(tmp_path / "records.db")
    assert open_files(tmp_path) == 0
    assert threading.active_count() <= threads


async def test_read_after_close_raises_and_opens_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.last_seq()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        store.last_seq()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        await asyncio.to_thread(store.last_seq)
    assert open_files(tmp_path) == 0


def test_integrity_errors_finds_damage(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert store.integrity_errors() == []
        store.write_sync([put(str(i), "x" * 500) for i in range(500)])
    path = tmp_path / "records.db"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 9000] = bytes(9000)
    path.write_bytes(content)
    with opened(tmp_path) as store:
        assert store.integrity_errors()


WRITER = """
import asyncio, sys
from pathlib import Path
from service.embedded.storage.store import Store
from service.embedded.storage.operations import TrimLog, Put

async def main():
    store = Store(Path(sys.argv[1]))
    for i in range(1_000_000):
        batch = [Put("n", f"{i}-{j}", {"text": "x" * 200}, {"v": b"1234"}) for j in range(3)]
        written = await store.write(batch)
        if i % 10 == 9:
            store.submit([TrimLog(written.seq)])
        print(i, flush=True)

asyncio.run(main())
"""


def test_acknowledged_writes_survive_sigkill(tmp_path: Path) -> None:
    rng = random.Random(7)
    for round_ in range(4):
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
        try:
            with store.snapshot("v") as snapshot:
                found = [each for batch in snapshot.batches for each in batch]
            assert store.integrity_errors() == []
            assert snapshot.seq == len(found)
        finally:
            store.close()
        expected = {f"{i}-{j}" for i in range(acknowledged + 1) for j in range(3)}
        assert expected <= {each.id for each in found}
        assert len(found) % 3 == 0, "a batch was written in part"
        assert all(each.vectors for each in found)


@pytest.mark.parametrize("number", range(20))
def test_close_during_reads_raises_in_readers(tmp_path: Path, number: int) -> None:
    """SQLite alone would crash the process most of the time."""
    store = Store(tmp_path / f"{number}.db")
    reading = threading.Barrier(4)
    errors: list[sqlite3.ProgrammingError] = []

    def read() -> None:
        reading.wait()
        try:
            while True:
                store.changes(0, 10)
        except sqlite3.ProgrammingError as exc:
            errors.append(exc)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    reading.wait()
    store.close()
    for thread in threads:
        thread.join(20)
    assert len(errors) == 3
