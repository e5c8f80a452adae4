"""`make campaign-kill`: kill a process that writes, again and again, and check what it left.

Every acknowledged record must exist in its last version, no acknowledged deletion may be undone,
and every view must agree with the records.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
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
from typing import Any

from service.embedded.client import EmbeddedAsyncIndex, opened_client
from tests.campaigns.model import EMBEDDER, WORDS
from tests.campaigns.writing_process import SCHEMA, SPACE

ROOT = Path(__file__).parent.parent.parent
MAX_HITS = 10_000
START_TIMEOUT_S = 60.0


@dataclass
class Outcome:
    """The writes that the killed processes acknowledged, and their start-up times."""

    known: dict[str, int] = field(default_factory=dict)
    """The last acknowledged version by id; 0 is deleted."""
    asked: dict[str, set[int]] = field(default_factory=dict)
    """Versions sent since and not acknowledged: they may exist or not."""
    starts: list[float] = field(default_factory=list)
    acknowledged: int = 0
    killed_starting: int = 0

    def take(self, line: str) -> None:
        what, *pairs = line.split()
        if what == "opened":
            self.starts.append(float(pairs[0]))
            return
        for id, version in (pair.split("=") for pair in pairs):
            if what == "asked":
                self.asked.setdefault(id, set()).add(int(version))
            else:
                self.known[id] = int(version)
                self.asked[id] = set()
                self.acknowledged += 1

    def allowed(self, id: str) -> set[int]:
        return {self.known.get(id, 0)} | self.asked.get(id, set())


def campaign(folder: Path, kills: int, records: int, check_every: int, seed: int = 0) -> Outcome:
    """Kill processes on one directory `kills` times; raises AssertionError for any loss."""
    rng = random.Random(seed)
    outcome = Outcome()
    for number in range(1, kills + 1):
        _one_kill(folder, records, rng, outcome)
        if number % check_every == 0 or number == kills:
            asyncio.run(check(folder, outcome))
    return outcome


def _one_kill(folder: Path, records: int, rng: random.Random, outcome: Outcome) -> None:
    """Kill a process while it writes, or sometimes while it starts."""
    arguments = [sys.executable, "-m", "tests.campaigns.writing_process"]
    given = [str(folder), str(records), str(rng.randrange(1_000_000))]
    starting = rng.random() < 0.2
    before = len(outcome.starts)
    with subprocess.Popen([*arguments, *given], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        if starting:
            _wait_for_files(folder, process)
            time.sleep(rng.random() * 0.05)
        else:
            watchdog = threading.Timer(START_TIMEOUT_S, process.kill)
            watchdog.start()
            first = process.stdout.readline().decode()
            watchdog.cancel()
            assert first.startswith("opened"), "it did not start"
            outcome.take(first)
            time.sleep(rng.random() * rng.choice([0.05, 0.4, 1.0]))
        assert process.poll() is None, f"it ended by itself, with {process.returncode}"
        os.kill(process.pid, signal.SIGKILL)
        for line in process.stdout.read().decode().splitlines(keepends=True):
            if line.endswith("\n"):
                outcome.take(line)
    outcome.killed_starting += len(outcome.starts) == before


def _wait_for_files(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has begun to open: the owner file has its pid."""
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            if (folder / "owner").read_text() == str(process.pid):
                return
        time.sleep(0.001)
    raise AssertionError("it does not start")


async def check(folder: Path, outcome: Outcome) -> None:
    """Open the index and check it; unacknowledged versions become known."""
    async with opened_client(folder, "records", SCHEMA, EMBEDDER) as index:
        await index.embedded.wait_until_visible()
        assert index.embedded.store.integrity_errors() == []
        assert index.embedded.views.followed.failures() == {}
        stored = await asyncio.to_thread(_stored, index)
        for id in outcome.known.keys() | outcome.asked.keys() | stored.keys():
            found = stored.get(id, {}).get("version", 0)
            allowed = outcome.allowed(id)
            assert found in allowed, f"record {id} is of version {found}, not one of {allowed}"
            outcome.known[id], outcome.asked[id] = found, set()
        counts = (await index.describe_index_stats()).namespaces
        assert (counts[SPACE].vector_count if counts else 0) == len(stored), "the columns differ"
        embedded = {id for id, each in stored.items() if EMBEDDER.embed([each["body"]]).any()}
        assert await _found(index, "embed", " ".join(WORDS)) == embedded, "meaning differs"
        assert await _found(index, "text", "record") == stored.keys(), "words differ"
        versions = {each["version"] for each in stored.values()}
        for version in versions:
            those = {id for id, each in stored.items() if each["version"] == version}
            assert await _found(index, "text", f"v{version}") == those, "old words are found"
            filter = {"version": version}
            assert await _found(index, "text", "record", filter) == those, "old values are found"
        assert len(index.embedded.views.dense["body"].index) == len(embedded)


def _stored(index: EmbeddedAsyncIndex) -> dict[str, dict[str, Any]]:
    with index.embedded.store.snapshot() as snapshot:
        return {each.id: each.fields for batch in snapshot.batches for each in batch}


async def _found(
    index: EmbeddedAsyncIndex, kind: str, query: str, filter: dict[str, Any] | None = None
) -> set[str]:
    where: dict[str, Any] = {"fields": ["body"]} if kind == "text" else {"field": "body"}
    answer = await index.documents.search(
        namespace=SPACE,
        score_by=[{"type": kind, "query": query, **where}],
        top_k=MAX_HITS,
        filter=filter,
    )
    return {each.id for each in answer.matches}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make campaign-kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--records", type=int, default=4_000, help=f"at most {MAX_HITS}")
    parser.add_argument("--check-every", type=int, default=10, help="kills")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(
            Path(folder),
            options.kills,
            min(options.records, MAX_HITS),
            options.check_every,
            options.seed,
        )
    starts = sorted(outcome.starts)
    print(
        f"{options.kills} kills (seed {options.seed}), {outcome.killed_starting} during start-up: "
        f"{outcome.acknowledged} acknowledged, 0 missing, stale or undeleted; every view is right; "
        f"start-up {starts[0]:.2f} s at best, {starts[len(starts) // 2]:.2f} s median, "
        f"{starts[-1]:.2f} s at worst"
    )


if __name__ == "__main__":
    main()
