"""Full or read-only disks, damaged files, and a second process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pinecone.errors import ServiceError

from service.embedded.client import EmbeddedAsyncIndex, opened_client
from service.embedded.schema import Schema, TextField
from service.errors import StartupFailed
from tests.campaigns.model import EMBEDDER, WORDS
from tests.e2e.process import ROOT

SCHEMA = Schema({"body": TextField(embed=True, full_text=True)})
SPACE = "__default__"
NO_SPACE = 507


def tool(name: str, *arguments: str) -> str:
    """Runs a system tool and returns its error output if it fails."""
    path = shutil.which(name)
    if path is None:
        return f"there is no {name}"
    done = subprocess.run([path, *arguments], capture_output=True, check=False, timeout=60)
    return done.stderr.decode().strip() or str(done.returncode) if done.returncode else ""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mounts a small disk; skips the test where that is not permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if trouble := tool("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)):
        pytest.skip(f"no disk can be mounted here: {trouble}")
    yield folder
    # Lazily, since errors in pytest's captured logs may still reference mapped files.
    assert tool("umount", "--lazy", str(folder)) == ""


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[EmbeddedAsyncIndex]:
    async with opened_client(folder, "records", SCHEMA, EMBEDDER) as index:
        yield index


def document(number: int) -> dict[str, Any]:
    return {
        "_id": str(number),
        "body": f"{WORDS[number % len(WORDS)]} record",
        "more": "x" * 20_000,
    }


async def found(index: EmbeddedAsyncIndex, kind: str, query: str = "record") -> set[str]:
    where: dict[str, Any] = {"fields": ["body"]} if kind == "text" else {"field": "body"}
    scoring = [{"type": kind, "query": query, **where}]
    answer = await index.documents.search(namespace=SPACE, score_by=scoring, top_k=10_000)
    return {each.id for each in answer.matches}


async def fill(index: EmbeddedAsyncIndex, start: int) -> tuple[int, ServiceError]:
    """Writes until the disk is full and returns the first number that was not acknowledged."""
    for number in range(start, start + 2_000):
        try:
            await index.documents.upsert(namespace=SPACE, documents=[document(number)])
        except ServiceError as exc:
            return number, exc
    raise AssertionError("it is never full")


@pytest.mark.parametrize("filler", ["records", "another"])
async def test_full_disk_rejects_writes_until_space_is_freed(small_disk: Path, filler: str) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4_000_000))
    async with opened(small_disk / "data") as index:
        for number in range(20):
            await index.documents.upsert(namespace=SPACE, documents=[document(number)])
        await index.embedded.wait_until_visible()
        if filler == "another":
            fill_up(small_disk / "other")
        end, refusal = await fill(index, 20)
        assert refusal.status_code == NO_SPACE
        assert "space" in str(refusal)
        acknowledged = {str(number) for number in range(end)}
        for number in range(3):  # reads go on, and nothing is lost
            first = {str(number) for number in range(20)}
            assert first <= await found(index, "embed")
            assert first <= await found(index, "text")
            page = await index.documents.fetch(namespace=SPACE, ids=[str(end - 1), str(end)])
            assert set(page.documents) == {str(end - 1)}
            with pytest.raises(ServiceError):
                await index.documents.upsert(namespace=SPACE, documents=[document(end + number)])
        ballast.unlink()
        (small_disk / "other").unlink(missing_ok=True)
        await index.documents.upsert(namespace=SPACE, documents=[document(end)])
        acknowledged.add(str(end))
        await until_shown(index)
        assert await found(index, "embed") == acknowledged
        assert await found(index, "text") == acknowledged
        await _until_well(index)
    async with opened(small_disk / "data") as index:
        await index.embedded.wait_until_visible()
        assert await found(index, "embed") == await found(index, "text") == acknowledged
        assert index.embedded.store.integrity_errors() == []


def fill_up(path: Path, leave: int = 0) -> None:
    """Leaves so many bytes free on the disk."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    if leave:
        os.truncate(path, path.stat().st_size - leave)


async def until_shown(index: EmbeddedAsyncIndex) -> None:
    """Waits for the views, which retry after a pause."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Exception):
                await index.embedded.wait_until_visible()
                return
            await asyncio.sleep(0.05)


async def _until_well(index: EmbeddedAsyncIndex) -> None:
    async with asyncio.timeout(60):
        while index.embedded.views.followed.failures():
            await asyncio.sleep(0.05)


async def test_read_only_directory_fails_with_one_sentence(small_disk: Path) -> None:
    data = small_disk / "data"
    async with opened(data):
        pass
    assert tool("mount", "-o", "remount,ro", str(small_disk)) == ""
    with pytest.raises(StartupFailed, match=r"^DATA_DIR: .*can't be used: Read-only") as caught:
        async with opened(data):
            pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("harm", ["header", "middle", "cut", "other"])
async def test_damaged_database_fails_with_one_sentence_and_no_thread(
    tmp_path: Path, harm: str
) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=SPACE, documents=[document(i) for i in range(20)])
    path = tmp_path / "records" / "records.db"
    content = bytearray(path.read_bytes())
    if harm == "header":
        content[:100] = bytes(b ^ 0x55 for b in content[:100])
    elif harm == "middle":
        content[4096:] = bytes(b ^ 0x55 for b in content[4096:])
    elif harm == "cut":
        del content[5000:]
    else:
        content = bytearray(b"not a database at all " * 1000)
    path.write_bytes(content)
    threads = threading.active_count()
    with pytest.raises(StartupFailed, match=r"^DATA_DIR: .*can't be opened") as caught:
        async with opened(tmp_path):
            pass
    assert "\n" not in str(caught.value)
    assert threading.active_count() <= threads


async def test_second_process_fails_with_owner_and_leaves_it_running(
    tmp_path: Path,
) -> None:
    program = (
        "import sys; from pathlib import Path; from service.embedded.data_directory import owned\n"
        "with owned(Path(sys.argv[1])): pass"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path)]
    async with opened(tmp_path) as index:
        second = await asyncio.to_thread(
            subprocess.run, arguments, cwd=ROOT, capture_output=True, check=False, timeout=60
        )
        assert second.returncode
        assert f"belongs to process {os.getpid()}" in second.stderr.decode()
        await index.documents.upsert(namespace=SPACE, documents=[document(1)])
    third = await asyncio.to_thread(
        subprocess.run, arguments, cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    assert third.returncode == 0


async def test_deleted_view_folder_is_rebuilt(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=SPACE, documents=[document(1)])
        await index.embedded.wait_until_visible()
        for kind in ("lexical", "dense", "corpus"):
            shutil.rmtree(tmp_path / "records" / kind, ignore_errors=True)
        await index.documents.upsert(namespace=SPACE, documents=[document(2)])
        await until_shown(index)
        assert await found(index, "text") == await found(index, "embed") == {"1", "2"}
    async with opened(tmp_path) as index:
        await index.embedded.wait_until_visible()
        assert await found(index, "text") == await found(index, "embed") == {"1", "2"}


async def test_cancelled_open_or_close_leaks_nothing(
    tmp_path: Path,
) -> None:
    await asyncio.to_thread(lambda: None)  # the loop's own thread is there from now on
    async with opened(tmp_path):
        pass
    threads = {each.name for each in threading.enumerate()}

    async def use() -> None:
        async with opened(tmp_path):
            await asyncio.sleep(0)

    for turns in range(12):
        task = asyncio.ensure_future(use())
        for _ in range(turns):
            await asyncio.sleep(0.001)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        left = {each.name for each in threading.enumerate()} - threads
        assert not {name for name in left if not name.startswith("asyncio")}
        async with opened(tmp_path):  # and it can be owned again at once
            pass


async def test_cancelled_write_reaches_views(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=SPACE, documents=[document(0)])
        await index.embedded.wait_until_visible()
        for number in range(1, 20):
            task = asyncio.ensure_future(
                index.documents.upsert(namespace=SPACE, documents=[document(number)])
            )
            for _ in range(number % 4):
                await asyncio.sleep(0.0005)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            filter = {"more": {"$exists": True}}
            answer = await index.documents.fetch(namespace=SPACE, filter=filter)
            assert "0" in answer.documents
        await index.embedded.wait_until_visible()
