"""A full disk: reads go on, also after a start, writes are refused, and it all ends by itself.

A limit on the size of files stands for a full disk where no small disk can be mounted.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pinecone.errors import ServiceError

from service.disk_space import MIB, DiskFull
from service.embedded.index import EmbeddedIndex
from service.embedded.lexical.queries import TextClause
from service.embedded.pending_documents import PendingDocument
from service.embedded.queries import LexicalQuery, SemanticQuery
from service.embedded.storage.operations import Put
from service.embedded.storage.store import Store
from service.errors import StartupFailed
from tests.campaigns.model import EMBEDDER
from tests.e2e.process import ROOT
from tests.embedded.test_failures import (
    SCHEMA,
    SPACE,
    document,
    fill_up,
    found,
    opened,
    small_disk,
    until_shown,
)

__all__ = ["small_disk"]  # a fixture

NO_SPACE = 507
TOTAL = 1_000 * MIB
RESERVE = 64 * MIB

# Writes, then opens the index again while no file can grow, and then while files can grow again.
LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from pinecone.errors import ServiceError
from tests.embedded.test_failures import SPACE, document, found, opened

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main(folder):
    async with opened(folder) as index:
        for number in range(20):
            await index.documents.upsert(namespace=SPACE, documents=[document(number)])
    limit(0)
    async with opened(folder) as index:
        print(len(await found(index, "embed")), len(await found(index, "text")))
        for _ in range(3):
            try:
                await index.documents.upsert(namespace=SPACE, documents=[document(20)])
            except ServiceError as exc:
                print(exc.status_code)
        print(index.embedded.store.is_read_only)
        limit(resource.RLIM_INFINITY)
        await index.documents.upsert(namespace=SPACE, documents=[document(20)])
        await index.embedded.wait_until_visible()
        print(index.embedded.store.is_read_only)
        print(len(await found(index, "embed")), len(await found(index, "text")))

asyncio.run(main(Path(sys.argv[1])))
"""


def test_index_opens_for_reading_while_files_can_not_grow(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.split("\n") == [
        "20 20",
        *["507"] * 3,
        "True",
        "False",
        "21 21",
        "",
    ], done.stderr


@pytest.mark.parametrize("killed", [True, False])
async def test_index_opens_for_reading_on_full_disk(small_disk: Path, killed: bool) -> None:
    data = small_disk / "data"
    async with opened(data) as index:
        for number in range(20):
            await index.documents.upsert(namespace=SPACE, documents=[document(number)])
        await index.embedded.wait_until_visible()
    if killed:
        await asyncio.to_thread(_write_and_kill, data)
        (data / "records" / "records.db-shm").unlink()
    fill_up(small_disk / "other")
    everything = {str(number) for number in range(21 if killed else 20)}
    async with asyncio.timeout(60), opened(data) as index:
        for _ in range(3):
            assert await found(index, "embed") == everything
            assert {str(number) for number in range(20)} <= await found(index, "text")
            with pytest.raises(ServiceError) as refused:
                await index.documents.upsert(namespace=SPACE, documents=[document(99)])
            assert refused.value.status_code == NO_SPACE
        assert index.embedded.store.is_read_only
        (small_disk / "other").unlink()
        await index.documents.upsert(namespace=SPACE, documents=[document(99)])
        await until_shown(index)
        assert not index.embedded.store.is_read_only
        assert await found(index, "embed") == everything | {"99"}
        assert await found(index, "text") == everything | {"99"}


def _write_and_kill(data: Path) -> None:
    """Write one more record in a process that is killed, so that its log stays."""
    program = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.embedded.test_failures import SPACE, document, opened\n"
        "async def main():\n"
        "    async with opened(Path(sys.argv[1])) as index:\n"
        "        await index.documents.upsert(namespace=SPACE, documents=[document(20)])\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())"
    )
    command = [sys.executable, "-c", program, str(data)]
    done = subprocess.run(command, cwd=ROOT, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL


async def test_lost_lexical_view_leaves_semantic_searches_on_full_disk(small_disk: Path) -> None:
    data = small_disk / "data"
    async with opened(data) as index:
        await index.documents.upsert(namespace=SPACE, documents=[document(1)])
    shutil.rmtree(data / "records" / "lexical")
    fill_up(small_disk / "other")
    async with asyncio.timeout(60), opened(data) as index:
        assert await found(index, "embed") == {"1"}
        with pytest.raises(ServiceError, match="no space left on the disk") as refused:
            await found(index, "text")
        assert refused.value.status_code == 503
        (small_disk / "other").unlink()
        await until_shown(index)
        assert await found(index, "text") == {"1"}


async def test_first_records_on_full_disk_do_not_stop_lexical_searches(small_disk: Path) -> None:
    """The lexical view has saved nothing yet, and can't."""
    async with opened(small_disk / "data") as index:
        fill_up(small_disk / "other", leave=200_000)
        await index.embedded.store.write(  # no reserve is left for it, either
            [Put(SPACE, str(number), document(number)) for number in range(5)]
        )
        fill_up(small_disk / "other2")
        with pytest.raises(Exception, match="is behind"):
            await index.embedded.wait_until_visible()
        assert await found(index, "text") == set()
        (small_disk / "other").unlink()
        await until_shown(index)
        assert await found(index, "text") == {str(number) for number in range(5)}


async def test_new_index_on_full_disk_fails_with_one_sentence(small_disk: Path) -> None:
    (small_disk / "data").mkdir()
    (small_disk / "data" / "owner").touch()
    fill_up(small_disk / "other")
    with pytest.raises(StartupFailed, match=r"is full.*; free some space, and start") as caught:
        async with opened(small_disk / "data"):
            pass
    assert "backup" not in str(caught.value)


class Disk:
    """A disk whose free space the test sets."""

    def __init__(self) -> None:
        self.free = TOTAL

    def usage(self, folder: Path) -> tuple[int, int, int]:
        return TOTAL, TOTAL - self.free, self.free


@asynccontextmanager
async def index_on(folder: Path, disk: Disk) -> AsyncIterator[EmbeddedIndex]:
    index = EmbeddedIndex(folder, SCHEMA, EMBEDDER, disk.usage)
    await asyncio.to_thread(index.open)
    try:
        yield index
    finally:
        await asyncio.to_thread(index.close)


def pending(id: str, text: str = "cat") -> PendingDocument:
    return PendingDocument(id, {"body": text}, json=b'{"body": "%s"}' % text.encode())


async def test_records_leave_the_reserve_and_deletions_use_it(tmp_path: Path) -> None:
    disk = Disk()
    async with index_on(tmp_path, disk) as index:
        disk.free = RESERVE + 1_000
        await index.upsert(SPACE, [pending("a"), pending("b")])
        disk.free = RESERVE
        with pytest.raises(DiskFull, match="64 MiB, of which 64 MiB have to stay free"):
            await index.upsert(SPACE, [pending("c")])
        with pytest.raises(DiskFull):
            await index.update(SPACE, ["a"], lambda each: pending(each.id, "dog"))
        assert (await index.upsert(SPACE, [pending("a")])).unchanged == 1
        assert await index.delete(SPACE, ["b"]) == 1
        disk.free = TOTAL
        await index.upsert(SPACE, [pending("c")])
        await index.wait_until_visible()
        assert {
            each.id for each, _ in await index.search(SPACE, SemanticQuery("body", "cat"), 9)
        } == {
            "a",
            "c",
        }


async def test_records_use_the_space_of_deleted_ones(tmp_path: Path) -> None:
    disk = Disk()
    text = "x" * 30_000
    async with index_on(tmp_path, disk) as index:
        for number in range(20):
            await index.upsert(SPACE, [pending(str(number), text)])
        disk.free = RESERVE - 1
        await index.clear_namespace(SPACE)
        await index.upsert(SPACE, [pending("a", text)])
        disk.free = RESERVE // 5
        with pytest.raises(DiskFull):
            await index.upsert(SPACE, [pending("b", text)])


def test_failed_write_gives_the_space_of_its_log_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "records.db")
    try:
        store.write_sync([Put(SPACE, "a", {"n": 1})])
        writing = store._writer._connection
        assert writing is not None
        writing.execute("PRAGMA max_page_count = 500")
        with pytest.raises(Exception, match="disk is full"):
            store.write_sync([Put(SPACE, str(n), {"text": "x" * 30_000}) for n in range(200)])
        assert (tmp_path / "records.db-wal").stat().st_size == 0
        assert store.namespace_counts() == {SPACE: 1}
    finally:
        store.close()


async def test_waiting_for_visibility_leaves_threads_for_writes(tmp_path: Path) -> None:
    async with index_on(tmp_path, Disk()) as index:
        await index.upsert(SPACE, [pending("a")])
        await index.wait_until_visible()
        assert index.views.lexical is not None
        with index.views.lexical.index._writing:  # nothing becomes visible to lexical searches
            await index.upsert(SPACE, [pending("b")])
            waiting = [asyncio.create_task(index.wait_until_visible()) for _ in range(8)]
            await asyncio.sleep(0)
            async with asyncio.timeout(20):
                await index.upsert(SPACE, [pending("c")])
            assert not any(task.done() for task in waiting)
        await asyncio.gather(*waiting)
        words = LexicalQuery([TextClause("cat", ("body",))])
        assert {each.id for each, _ in await index.search(SPACE, words, 9)} >= {"a", "b"}


async def test_namespace_is_cleared_in_parts_where_the_disk_has_no_space_for_the_whole(
    small_disk: Path,
) -> None:
    async with opened(small_disk / "data") as index:
        numbers = range(350)
        for number in numbers:
            await index.embedded.store.write([Put(SPACE, str(number), document(number))])
        await index.embedded.wait_until_visible()
        fill_up(small_disk / "other", leave=3_500_000)
        assert await index.embedded.clear_namespace(SPACE) == len(numbers)
        assert index.embedded.store.namespace_counts() == {}
        assert (small_disk / "data" / "records" / "records.db-wal").stat().st_size < 8_000_000
