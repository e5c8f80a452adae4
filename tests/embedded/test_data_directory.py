"""The data directory: who may read it, and records that are gone."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from service.embedded.backup import back_up, restore
from service.embedded.repair import inspect
from service.embedded.storage.store import Store
from service.errors import StartupFailed
from tests.campaigns.model import EMBEDDER
from tests.embedded.test_failures import SCHEMA, SPACE, document, found, opened


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_new_directory_is_private(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with opened(data) as index:
        await index.documents.upsert(namespace=SPACE, documents=[document(1)])
        assert [mode(each) for each in (data, data / "records")] == [0o700] * 2
        files = [data / "owner", *(data / "records").glob("records.db*")]
        assert len(files) == 4
        assert [mode(each) for each in files] == [0o600] * 4


async def test_existing_directory_keeps_its_mode_and_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    async with opened(data):
        pass
    assert mode(data) == 0o755
    assert f"chmod 700 {data}" in caplog.text
    caplog.clear()
    data.chmod(0o770)
    async with opened(data):
        pass
    assert mode(data) == 0o770
    assert "chmod" not in caplog.text


async def test_backup_and_restored_records_are_private(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as index:
        await index.documents.upsert(namespace=SPACE, documents=[document(1)])
    back_up(tmp_path / "data" / "records", tmp_path / "file.backup")
    restore(tmp_path / "file.backup", tmp_path / "restored", "records")
    restored = tmp_path / "restored"
    assert mode(tmp_path / "file.backup") == mode(restored / "records" / "records.db") == 0o600
    assert mode(restored) == mode(restored / "records") == 0o700


@pytest.mark.parametrize("harm", ["missing", "empty", "another"])
@pytest.mark.parametrize("lost", ["", "lexical", "dense"])
async def test_records_that_are_gone_are_not_replaced_by_none(
    tmp_path: Path, harm: str, lost: str
) -> None:
    async with opened(tmp_path) as index:
        await index.documents.upsert(namespace=SPACE, documents=[document(1)])
    path = tmp_path / "records" / "records.db"
    kept = path.read_bytes()
    if lost:
        shutil.rmtree(tmp_path / "records" / lost)
    path.unlink()
    if harm == "empty":
        path.touch()
    if harm == "another":
        Store(path).close()
    for _ in range(2):
        with pytest.raises(StartupFailed, match="restore a backup") as caught:
            async with opened(tmp_path):
                pass
        assert "\n" not in str(caught.value)
        assert path.exists() == (harm != "missing")
    if harm == "missing":
        (finding,) = inspect(path.parent, SCHEMA, EMBEDDER)
        assert finding.status == "wrong"
    path.write_bytes(kept)
    async with opened(tmp_path) as index:
        await index.embedded.wait_until_visible()
        assert await found(index, "text") == {"1"}


@pytest.mark.parametrize("written", [False, True])
async def test_index_without_records_opens_again(tmp_path: Path, written: bool) -> None:
    async with opened(tmp_path) as index:
        if written:
            await index.documents.upsert(namespace=SPACE, documents=[document(1)])
            await index.documents.delete(namespace=SPACE, delete_all=True)
    async with opened(tmp_path) as index:
        assert await found(index, "text") == set()
