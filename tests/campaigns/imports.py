"""`make campaign-imports`: kill a process during imports, again and again, and check the imports.

Every acknowledged job must end with exactly the counts of its file, every record must exist, and no
temporary file may be left.
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
from tests.e2e.command import environment
from tests.fork_server import start
from tests.postgres_server import postgres_server

TIMEOUT_S = 60.0
TEMPORARY_SUFFIXES = {".part", ".spool"}
BAD_EVERY = 97  # every so many lines, one is invalid


@dataclass
class Outcome:
    """The result of a campaign."""

    kills: int = 0
    files: int = 0
    acknowledged: dict[str, int] = field(default_factory=dict)  # job id: number of its file
    interrupted: int = 0  # kills that left an unfinished job or upload


@dataclass(frozen=True)
class ImportFile:
    """A file to import."""

    path: Path
    records: int
    bad: int


def campaign(kills: int, database: str, records: int, seed: int) -> Outcome:
    """Kill the process `kills` times; raises AssertionError for any loss."""
    rng = random.Random(seed)
    outcome = Outcome()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = None
        if database == "postgres":
            server = stack.enter_context(postgres_server())
            url = asyncio.run(server.new_database())
        files: list[ImportFile] = []
        while outcome.kills < kills:
            _one_kill(folder, url, files, records, rng, outcome)
        asyncio.run(_check(folder, url, files, outcome))
    return outcome


def _file(folder: Path, number: int, records: int) -> ImportFile:
    """Write a file of records, with some invalid lines."""
    path = folder / f"{number}.ndjson"
    bad = 0
    with path.open("w") as file:
        for n in range(records):
            word = WORDS[n % len(WORDS)]
            file.write(json.dumps({"_id": f"{number}-{n}", "body": f"record {word} {n}"}) + "\n")
            if n % BAD_EVERY == 0:
                file.write("{\n")
                bad += 1
    return ImportFile(path, records, bad)


def _one_kill(
    folder: Path,
    url: str | None,
    files: list[ImportFile],
    records: int,
    rng: random.Random,
    outcome: Outcome,
) -> None:
    """Send a file to every third process, and kill each after a random time."""
    with start(
        "tests.campaigns.importing_process",
        str(folder),
        *([url] if url else []),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        watchdog = threading.Timer(TIMEOUT_S, process.kill)
        watchdog.start()
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "ready\n", "it did not start"
        if outcome.kills % 3 == 0:
            files.append(_file(folder, len(files), records))
            process.stdin.write(f"{files[-1].path}\n")
            process.stdin.flush()
            if rng.random() < 0.8:
                id = process.stdout.readline().strip()
                assert id, "it was not acknowledged"
                outcome.acknowledged[id] = len(files) - 1
        time.sleep(rng.random() * rng.choice([0.1, 0.5, 1.0]))
        assert process.poll() is None, f"it ended by itself, with {process.returncode}"
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split()
        watchdog.cancel()
    if rest:
        outcome.acknowledged[rest[0]] = len(files) - 1
    outcome.kills += 1
    outcome.interrupted += any(
        path.suffix in TEMPORARY_SUFFIXES for path in (folder / "imports").iterdir()
    )
    outcome.files = len(files)


async def _check(folder: Path, url: str | None, files: list[ImportFile], outcome: Outcome) -> None:
    """Let the remaining jobs finish, and check them."""
    async with opened_client(folder / "engine", "records", SCHEMA, EMBEDDER) as index:
        imports = folder / "imports"
        jobs = Jobs(imports, url, Index(index), Lifecycle(), max_bytes=10**9, batches_at_once=4)
        async with jobs.opened():
            for id, number in outcome.acknowledged.items():
                job = await _ended(jobs, id)
                file = files[number]
                got = (job.status, job.written, job.failed)
                assert got == ("succeeded", file.records, file.bad), f"job {id} is {got}"
                assert job.bytes_read == job.bytes == file.path.stat().st_size
            async with asyncio.timeout(TIMEOUT_S):
                page = await jobs.list(1000, None)
                while any(not job.ended for job in page.jobs):
                    await asyncio.sleep(0.05)
                    page = await jobs.list(1000, None)
            known = {str(job.plan.name) for job in page.jobs}
            assert {job.status for job in page.jobs} <= {"succeeded"}
            assert len(page.jobs) <= len(files)
        left = [path.name for path in imports.iterdir() if path.suffix in TEMPORARY_SUFFIXES]
        assert left == [], f"files are left: {left}"
        await index.embedded.wait_until_visible()
        counts = (await index.describe_index_stats()).namespaces
        expected = sum(file.records for file in files if str(file.path) in known)
        assert counts[SPACE].vector_count == expected, "records are missing, or too many"


async def _ended(jobs: Jobs, id: str) -> Job:
    async with asyncio.timeout(TIMEOUT_S), jobs.watch(id) as moments:
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
    options = parser.parse_args()
    logging.disable(logging.INFO)
    outcome = campaign(options.kills, options.database, options.records, options.seed)
    print(
        f"{outcome.kills} kills (seed {options.seed}, {options.database}), "
        f"{outcome.interrupted} of them during an import: {outcome.files} files of "
        f"{options.records:,} records sent, {len(outcome.acknowledged)} acknowledged: every job "
        "has the counts of its file, no record is missing, no file is left"
    )


if __name__ == "__main__":
    main()
