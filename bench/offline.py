"""The embedded engine over HTTP, beside a Quart hello-world: `python -m bench.offline`.

Both run as one process on the same machine and are measured alternately: the cost of a search
beyond the cost of the framework. Records come from `bench.engine.corpus` and are loaded with the
`load` command. Every query is different, since equal concurrent queries would share one search.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from bench.command import end_on_signals
from bench.engine.corpus import texts
from bench.figures import HEADER, Rounds, ratio
from bench.measuring import measure
from bench.processes import ROOT, Failed, Process, free_port, running

SEARCHES = ("semantic-search", "lexical-search", "cascading-retrieval")
LOAD_TIMEOUT_S = 1_800


def load_records(folder: Path, records: int) -> str:
    """Fill a data directory; returns a query that has results."""
    path = folder / "records.jsonl"
    with path.open("w") as file:
        for number, text in enumerate(texts(records)):
            file.write(json.dumps({"_id": str(number), "chunk_text": text}) + "\n")
    command = [sys.executable, "-m", "service", "load", str(path)]
    environment = {"DATA_DIR": str(folder / "var"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LOAD_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise Failed(f"the records could not be loaded: {done.stderr.strip()[-300:]}")
    print(done.stdout.strip(), file=sys.stderr)
    return " ".join(text.split()[20:24])


@contextmanager
def started(data_dir: Path) -> Iterator[tuple[Process, Process]]:
    """Run the hello-world and the service."""
    with ExitStack() as stack:
        port = free_port()
        hello = running("hello", port, ["bench.hello"], {"PORT": str(port)})
        opened = stack.enter_context(hello)
        port = free_port()
        environment = {
            "PORT": str(port),
            "DATA_DIR": str(data_dir),
            "LOG_LEVEL": "WARNING",
            "CACHE_TTL": "0",
        }
        service = running("cascade", port, ["service", "serve"], environment)
        yield opened, stack.enter_context(service)


def compare(hello: Process, service: Process, question: str, options: argparse.Namespace) -> int:
    """Measure alternately, print the table and the ratios, and return the number of errors."""
    targets = {"hello-world": (hello, "/")}
    for search in SEARCHES:
        targets[search] = (service, f"/api/{search}?text_query={quote(question)}%20{{n}}")
    rounds = {name: Rounds() for name in targets}
    for process, target in targets.values():  # warm up
        measure(process, target, options.in_flight, 1.0, Rounds())
    for _ in range(options.rounds):
        for name, (process, target) in targets.items():
            measure(process, target, options.in_flight, options.seconds, rounds[name])
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {options.records:,} records, "
        f"{options.rounds} rounds of {options.seconds} s"
    )
    print(HEADER)
    for name, measured in rounds.items():
        print(measured.row(options.in_flight, name))
    for search in SEARCHES:
        print(f"{search} / hello-world: {ratio(rounds[search], rounds['hello-world'])}")
    return sum(measured.errors for measured in rounds.values())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.offline")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args(arguments)
    end_on_signals()
    try:
        with tempfile.TemporaryDirectory() as folder:
            question = load_records(Path(folder), options.records)
            with started(Path(folder) / "var") as (hello, service):
                errors = compare(hello, service, question, options)
    except Failed as exc:
        print(f"bench.offline: {exc}", file=sys.stderr)
        return 1
    return 1 if errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
