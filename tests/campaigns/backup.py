"""`make campaign-backup`: back up a service that writes, kill it, restore, and compare.

Each round goes on with the directory that the round before has restored. Each writer sends one
request at a time, so the restored records must be those after one of its requests: the last that
was acknowledged before the backup began, or a later one.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from service.client import SearchClient, SearchClientError
from tests.campaigns.model import WORDS
from tests.e2e.command import run
from tests.e2e.process import serving_offline

SETTINGS = {"LOAD_SAMPLES": "false", "CACHE_TTL": "0"}
BATCH = 20

State = dict[str, int]
"""The version of each record that exists."""


@dataclass
class Writer:
    """The requests of one writer: the state of its records after each."""

    name: str
    records: int
    rng: random.Random
    states: list[State] = field(default_factory=lambda: [{}])
    acknowledged: int = 0
    """The position in `states` of the last request that was acknowledged."""
    seconds: list[float] = field(default_factory=list)

    def write(self, url: str, stopped: threading.Event) -> None:
        """Write until the service is killed."""
        with SearchClient(url, retries=0, timeout=60) as client:
            while not stopped.is_set():
                begin = time.perf_counter()
                try:
                    self._write_one(client)
                except SearchClientError:
                    if not stopped.wait(30):
                        raise
                    return
                self.acknowledged = len(self.states) - 1
                self.seconds.append(time.perf_counter() - begin)

    def _write_one(self, client: SearchClient) -> None:
        state = dict(self.states[-1])
        numbers = self.rng.sample(range(self.records), BATCH)
        ids = [f"{self.name}-{number}" for number in numbers]
        if self.rng.random() < 0.2:
            for id in ids:
                state.pop(id, None)
            self.states.append(state)
            client.delete(ids=ids)
            return
        version = len(self.states)
        state.update(dict.fromkeys(ids, version))
        self.states.append(state)
        word = WORDS[version % len(WORDS)]
        text = f"record {word} of version {version}"
        client.upsert([{"_id": id, "chunk_text": text, "version": version} for id in ids])

    def check(self, floor: int, found: State) -> None:
        """Go on from the restored state, which is one of those since `floor`."""
        matching = [each for each in self.states[floor:] if each == found]
        if not matching:
            missing = self.states[floor].keys() - found.keys()
            raise AssertionError(
                f"writer {self.name}: the records are those after none of its last "
                f"{len(self.states) - floor} requests; {len(missing)} acknowledged ids are missing"
            )
        self.states, self.acknowledged = [found], 0


@dataclass
class Outcome:
    """What the rounds have measured."""

    rounds: int = 0
    acknowledged: int = 0
    records: int = 0
    bytes: int = 0
    backups: list[float] = field(default_factory=list)
    restores: list[float] = field(default_factory=list)
    calm: list[float] = field(default_factory=list)
    """The durations of the writes outside of backups, in seconds."""
    during: list[float] = field(default_factory=list)
    """The durations of the writes that were acknowledged during a backup."""


def campaign(folder: Path, rounds: int, records: int, writers: int, seed: int) -> Outcome:
    """Raises AssertionError for a record that is missing, stale or was never written."""
    rng = random.Random(seed)
    outcome = Outcome()
    those = [
        Writer(f"w{number}", records // writers, random.Random(rng.random()))
        for number in range(writers)
    ]
    data_dir = folder / "0"
    for number in range(1, rounds + 1):
        data_dir = _round(folder, data_dir, number, those, rng, outcome)
    return outcome


def _round(
    folder: Path,
    data_dir: Path,
    number: int,
    writers: list[Writer],
    rng: random.Random,
    outcome: Outcome,
) -> Path:
    """Restore the backup of a round into a directory of its own; returns the directory."""
    file, restored = folder / f"{number}.backup", folder / str(number)
    with serving_offline(data_dir, **SETTINGS) as (process, url):
        with _writing(url, writers) as stopped:
            _measure(writers, 0.5 + rng.random(), outcome.calm)
            floors = [each.acknowledged for each in writers]
            before = [len(each.seconds) for each in writers]
            begin = time.perf_counter()
            done = run("backup", file, DATA_DIR=data_dir)
            outcome.backups.append(time.perf_counter() - begin)
            assert done.returncode == 0, done.stderr
            for each, count in zip(writers, before, strict=True):
                outcome.during += each.seconds[count:]
            time.sleep(rng.random() * 0.2)  # what is written now must not be in it
            stopped.set()
            process.signal_group(signal.SIGKILL)
    begin = time.perf_counter()
    done = run("restore", file, DATA_DIR=restored)
    outcome.restores.append(time.perf_counter() - begin)
    assert done.returncode == 0, done.stderr
    outcome.acknowledged += sum(each.acknowledged for each in writers) * BATCH
    outcome.records, outcome.bytes = _compare(restored, writers, floors), file.stat().st_size
    outcome.rounds += 1
    file.unlink()
    return restored


@contextmanager
def _writing(url: str, writers: list[Writer]) -> Iterator[threading.Event]:
    """Every writer writes in a thread during the block, in which the event must be set."""
    stopped = threading.Event()
    errors: list[BaseException] = []

    def write(writer: Writer) -> None:
        try:
            writer.write(url, stopped)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=write, args=(each,)) for each in writers]
    for thread in threads:
        thread.start()
    try:
        yield stopped
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def _measure(writers: list[Writer], seconds: float, into: list[float]) -> None:
    before = [len(each.seconds) for each in writers]
    time.sleep(seconds)
    for each, count in zip(writers, before, strict=True):
        into += each.seconds[count:]


def _compare(data_dir: Path, writers: list[Writer], floors: list[int]) -> int:
    """Compare what a service on the restored directory has, and search it."""
    with ExitStack() as stack:
        _, url = stack.enter_context(serving_offline(data_dir, **SETTINGS))
        client = stack.enter_context(SearchClient(url))
        with client.export() as stream:
            found = {str(each.pop("_id")): each for each in stream}
        for writer, floor in zip(writers, floors, strict=True):
            own = {
                id: int(each["version"])
                for id, each in found.items()
                if id.startswith(f"{writer.name}-")
            }
            writer.check(floor, own)
        strange = [
            id for id in found if id.partition("-")[0] not in {each.name for each in writers}
        ]
        assert not strange, f"never written: {strange}"
        some = next(iter(found.values()))
        for mode in ("semantic", "lexical", "cascading"):
            answer = client.search(str(some["chunk_text"]), mode=mode, top_k=100, fields=["*"])
            assert not answer.degraded
            assert answer.results, f"{mode} search finds nothing"
            for hit in answer.results:
                assert hit.fields == found[hit.id], f"{mode} search finds another version"
    return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make campaign-backup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--records", type=int, default=4_000)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(
            Path(folder), options.rounds, options.records, options.writers, options.seed
        )
    print(
        f"{outcome.rounds} rounds (seed {options.seed}): {outcome.acknowledged:,} records "
        f"written; none from before a backup is missing, nothing else appears; the last one "
        f"had {outcome.records:,} records in {outcome.bytes / 1e6:.1f} MB. "
        f"backup {_spread(outcome.backups)} s, restore {_spread(outcome.restores)} s; "
        f"a write of {BATCH} records {_spread(outcome.during)} s during a backup, "
        f"{_spread(outcome.calm)} s otherwise (median, worst)"
    )


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.3f}, {max(seconds):.3f}" if seconds else "-"


if __name__ == "__main__":
    main()
