"""The folder of the uploads, and files in it that are damaged."""

from __future__ import annotations

import logging
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.errors import JobsUnavailable
from service.jobs.spool import Spool
from tests.ingest.fake_target import FakeTarget
from tests.jobs.fixtures import running_jobs


def test_node_is_named_once_by_several_processes(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        names = set(threads.map(lambda _: Spool(tmp_path / "data" / "imports").node(), range(40)))
    assert len(names) == 1
    folder = tmp_path / "data" / "imports"
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (folder.parent, folder, folder / "node")]
    assert modes == [0o700, 0o700, 0o600]
    assert [each.name for each in folder.iterdir()] == ["node"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"half of a na", b"0" * 31 + b"\n"])
def test_damaged_node_gets_a_new_name(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "node").write_bytes(content)
    name = Spool(tmp_path).node()
    assert len(name) == 32
    assert Spool(tmp_path).node() == name
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "is damaged" in record.message


@pytest.fixture
def damaged(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "jobs.db").write_bytes(b"not a database " * 1_000)
    return folder


async def test_damaged_database_is_one_sentence(
    damaged: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_jobs(damaged, None, FakeTarget()) as running:
        with pytest.raises(JobsUnavailable, match=r"is damaged: stop the service, .*/jobs\.db"):
            await running.jobs.list(10, None)
    assert not [each for each in caplog.records if each.exc_info]
