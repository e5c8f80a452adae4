"""Kills a process in mid-import, again and again, and looks what became of the imports.

Knows nothing of how they are kept. Whatever the moment: each job that was acknowledged ends with
exactly the counts of its file, every record is there, and no file is left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from service.embedded.client import opened_client
from service.jobs.job import Job
from service.jobs.jobs import Jobs
from service.lifecycle import Lifecycle
from tests.campaigns.importing_process import SPACE, Index
from tests.campaigns.model import EMBEDDER, WORDS
from tests.campaigns.writing_process import SCHEMA
from tests.postgres_server import postgres_server

ROOT = Path(__file__).parent.parent.parent
LONG = 60.0
SPOOLED = {".part", ".spool"}
BAD_EVERY = 97  # lines, of which one is none


@dataclass
class Toll:
    """What was killed, and what came of it."""

    kills: int = 0
    files: int = 0
    acknowledged: dict[str, int] = field(default_factory=dict)  # jobs, and the number of their file
    interrupted: int = 0  # kills that left a job, or an upload, in its midst


@dataclass(frozen=True)
class Asked:
    """What a file holds."""

    path: Path
    records: int
    bad: int


def campaign(kills: int, database: str, records: int, seed: int) -> Toll:
    """Kill so often; an AssertionError says what is wrong."""
    rng = random.Random(seed)
    toll = Toll()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = None
        if database == "postgres":
            server = stack.enter_context(postgres_server())
            url = asyncio.run(server.new_database())
        files: list[Asked] = []
        while toll.kills < kills:
            _one_kill(folder, url, files, records, rng, toll)
        asyncio.run(_check(folder, url, files, toll))
    return toll


def _file(folder: Path, number: int, records: int) -> Asked:
    """Records whose ids say the file; some lines are none."""
    path = folder / f"{number}.ndjson"
    bad = 0
    with path.open("w") as file:
        for n in range(records):
            word = WORDS[n % len(WORDS)]
            file.write(json.dumps({"_id": f"{number}-{n}", "body": f"record {word} {n}"}) + "\n")
            if n % BAD_EVERY == 0:
                file.write("{\n")
                bad += 1
    return Asked(path, records, bad)


def _one_kill(
    folder: Path, url: str | None, files: list[Asked], records: int, rng: random.Random, toll: Toll
) -> None:
    """Send a file if the others may have ended, and kill a little later."""
    arguments = [
        sys.executable,
        "-m",
        "tests.campaigns.importing_process",
        str(folder),
        *([url] if url else []),
    ]
    with subprocess.Popen(
        arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(LONG, process.kill)
        watchdog.start()
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "ready\n", "it did not start"
        if toll.kills % 3 == 0:
            files.append(_file(folder, len(files), records))
            process.stdin.write(f"{files[-1].path}\n")
            process.stdin.flush()
            if rng.random() < 0.8:
                id = process.stdout.readline().strip()
                assert id, "it was not acknowledged"
                toll.acknowledged[id] = len(files) - 1
        time.sleep(rng.random() * rng.choice([0.1, 0.5, 1.0]))
        assert process.poll() is None, f"it ended by itself, with {process.returncode}"
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split()
        watchdog.cancel()
    if rest:
        toll.acknowledged[rest[0]] = len(files) - 1
    toll.kills += 1
    toll.interrupted += any(path.suffix in SPOOLED for path in (folder / "imports").iterdir())
    toll.files = len(files)


async def _check(folder: Path, url: str | None, files: list[Asked], toll: Toll) -> None:
    """Let whatever is left come to its end, and compare."""
    async with opened_client(folder / "engine", "records", SCHEMA, EMBEDDER) as index:
        imports = folder / "imports"
        jobs = Jobs(imports, url, Index(index), Lifecycle(), max_bytes=10**9, batches_at_once=4)
        async with jobs.opened():
            for id, number in toll.acknowledged.items():
                job = await _ended(jobs, id)
                asked = files[number]
                got = (job.status, job.written, job.failed)
                assert got == ("succeeded", asked.records, asked.bad), f"job {id} is {got}"
                assert job.bytes_read == job.bytes == asked.path.stat().st_size
            async with asyncio.timeout(LONG):
                page = await jobs.list(1000, None)
                while any(not job.ended for job in page.jobs):
                    await asyncio.sleep(0.05)
                    page = await jobs.list(1000, None)
            known = {str(job.plan.name) for job in page.jobs}
            assert {job.status for job in page.jobs} <= {"succeeded"}
            assert len(page.jobs) <= len(files)
        left = [path.name for path in imports.iterdir() if path.suffix in SPOOLED]
        assert left == [], f"files are left: {left}"
        await index.embedded.wait_until_visible()
        counts = (await index.describe_index_stats()).namespaces
        expected = sum(asked.records for asked in files if str(asked.path) in known)
        assert counts[SPACE].vector_count == expected, "records are missing, or too many"


async def _ended(jobs: Jobs, id: str) -> Job:
    async with asyncio.timeout(LONG), jobs.watch(id) as moments:
        async for job in moments:
            if job.ended:
                return job
    raise AssertionError(f"job {id} did not end")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make campaign-imports", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--records", type=int, default=20_000, help="in each file")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    logging.disable(logging.INFO)
    toll = campaign(asked.kills, asked.database, asked.records, asked.seed)
    print(
        f"{toll.kills} kills (seed {asked.seed}, {asked.database}), {toll.interrupted} of them in "
        f"the midst of an import: {toll.files} files of "
        f"{asked.records:,} records sent, {len(toll.acknowledged)} acknowledged: every job has the "
        "counts of its file, every record is there, no file is left"
    )


if __name__ == "__main__":
    main()
