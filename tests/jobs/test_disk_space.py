"""Uploads leave a reserve of free disk space for other writers."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.disk_space import MIB, DiskSpace
from service.errors import StorageFull
from tests.ingest.fake_target import FakeTarget
from tests.jobs.fixtures import ndjson, plan, remaining_uploads, running_jobs

GIB = 1024 * MIB


class FakeDisk:
    """A disk of a given size that holds one folder."""

    def __init__(self, folder: Path, total: int, others: int = 0) -> None:
        self._folder = folder
        self._total = total
        self.others = others  # bytes of other files

    def usage(self, folder: Path) -> tuple[int, int, int]:
        assert folder == self._folder
        files = folder.glob("*.part"), folder.glob("*.spool")
        used = self.others + sum(path.stat().st_size for some in files for path in some)
        return self._total, used, self._total - used


@pytest.mark.parametrize(
    ("total", "reserve"),
    [
        (16 * MIB, 4 * MIB),
        (GIB // 2, 64 * MIB),
        (4_000 * MIB, 200 * MIB),
        (10 * GIB, GIB // 4),
        (10_000 * GIB, GIB // 4),
    ],
)
def test_reserve_is_5_percent_of_disk_within_bounds(
    tmp_path: Path, total: int, reserve: int
) -> None:
    assert DiskSpace(tmp_path, FakeDisk(tmp_path, total).usage).measure() == (total, reserve)


async def test_upload_ends_at_disk_reserve(folder: Path) -> None:
    disk = FakeDisk(folder, 10 * GIB, others=10 * GIB - 259 * MIB)  # of which 256 stay free
    async with running_jobs(folder, None, FakeTarget(), disk_usage=disk.usage) as running:
        async with running.jobs.receive(plan()) as upload:
            for _ in range(3):
                await upload.write(b"x" * MIB)
            with pytest.raises(StorageFull, match="256 MiB, of which 256 MiB have to stay free"):
                await upload.write(b"x" * MIB)
        assert remaining_uploads(folder) == []
        assert (await running.run_to_end(ndjson([1]))).status == "succeeded"


async def test_upload_with_too_large_length_is_rejected_at_once(folder: Path) -> None:
    disk = FakeDisk(folder, 10 * GIB, others=5 * GIB)
    async with running_jobs(folder, None, FakeTarget(), disk_usage=disk.usage) as running:
        with pytest.raises(StorageFull, match="5120 MiB, of which 256 MiB"):
            async with running.jobs.receive(plan(), 5 * GIB):
                raise AssertionError("it was let in")
        async with running.jobs.receive(plan(), 4 * GIB):
            pass


async def test_upload_is_rejected_if_disk_fills_up_meanwhile(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FakeDisk(folder, 10 * GIB)
    async with running_jobs(folder, None, FakeTarget(), disk_usage=disk.usage) as running:
        async with running.jobs.receive(plan()) as upload:
            await upload.write(ndjson([1]))
            disk.others = 10 * GIB
            with pytest.raises(StorageFull, match="free for this import: 0 MiB"):
                await upload.commit()
        assert remaining_uploads(folder) == []
        assert (await running.jobs.list(10, None)).jobs == []
        with pytest.raises(StorageFull):
            await running.send(ndjson([1]))
        assert "of which 256 MiB have to stay free" in caplog.text
        disk.others = 0
        assert (await running.run_to_end(ndjson([1]))).status == "succeeded"
