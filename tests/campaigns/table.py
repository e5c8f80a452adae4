"""`make campaign-table`: load and import a table of a million rows, as Excel writes it.

It is in Windows-1252, with semicolons, and ragged. The command sends it to a fake service, the
import writes to a fake index; every record must be there.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from tests.e2e.command import started
from tests.fake_service import fake_service
from tests.ingest.fake_target import FakeTarget
from tests.jobs.fixtures import running_jobs
from tests.wild_files import large, large_record

CHECKED = 9973  # every so many records are compared


def check(records: dict[str, dict[str, object]], rows: int) -> None:
    assert len(records) == rows, f"{len(records):,} of {rows:,} records"
    for n in range(0, rows, CHECKED):
        assert records[str(n)] == {"_id": str(n), **large_record(n)}


def load(path: Path, rows: int) -> None:
    with fake_service() as service:
        began = time.monotonic()
        with started("load", path, "--url", service.address, "--batch-size", "1000") as process:
            out, err = process.communicate()
        assert process.returncode == 0, err
        print(f"load: {out.strip()}; {time.monotonic() - began:.0f} s\n{err.strip()}")
        check({id: dict(record) for id, record in service.records.items()}, rows)


async def import_(folder: Path, data: bytes, rows: int) -> None:
    target = FakeTarget()
    began = time.monotonic()
    async with running_jobs(folder, None, target, max_bytes=len(data)) as running:
        job = await running.send(data, format="csv")
        async with asyncio.timeout(3600), running.jobs.watch(job.id) as changes:
            async for job in changes:  # noqa: B007 - the last one is checked
                pass
    print(f"import: {job.status}, {job.written:,} records; {time.monotonic() - began:.0f} s")
    print(*job.notes, sep="\n")
    check({id: dict(record) for id, record in target.records.items()}, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    data = large(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        path.write_bytes(data)
        load(path, rows)
        asyncio.run(import_(Path(folder, "imports"), data, rows))


if __name__ == "__main__":
    main()
