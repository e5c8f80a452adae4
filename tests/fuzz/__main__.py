"""`make fuzz`: search for inputs that crash a parser, one parser after the other.

The inputs that reach new code are kept in `corpus/`, the shortest ones of them. So is an input that
crashes a parser, so that the ordinary tests fail until the bug is fixed.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.fuzz import corpus

ROOT = Path(__file__).parents[2]
NAMES = re.compile(r"        \w+\.(\w+),")  # in parsers/__init__.py, which is slow to import
MAX_INPUT_BYTES = 4096
MAX_CORPUS_BYTES = 8_000  # of each parser
MAX_MEMORY_MB = 2048
SLOW_S = 20  # an input that takes longer is a bug, too
EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


def main() -> int:
    names = NAMES.findall((Path(__file__).parent / "parsers" / "__init__.py").read_text())
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="time for each parser")
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help=f"of {', '.join(names)}")
    options = parser.parse_args()
    if unknown := set(options.parsers) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    crashed = [name for name in options.parsers or names if not fuzz(name, options.seconds)]
    if crashed:
        print(f"crashed: {', '.join(crashed)}; `pytest tests/fuzz` runs the inputs that did it")
    return 1 if crashed else 0


def fuzz(name: str, seconds: int) -> bool:
    """Fuzz one parser, and print how it went; returns whether it did not crash."""
    with tempfile.TemporaryDirectory(prefix="cascade-fuzz-") as folder:
        found, merged, crashes = (Path(folder, each) for each in ("found", "merged", "crashes"))
        for each in (found, merged, crashes, Path(folder, "scratch")):
            each.mkdir()
        write_inputs(found, corpus.load(name))
        started = time.monotonic()
        output = run_worker(
            folder, name, found, f"-max_total_time={seconds}", f"-artifact_prefix={crashes}/"
        )
        seconds_run = time.monotonic() - started
        run_worker(folder, name, "-merge=1", merged, found)
        crashing = read_inputs(crashes)
        reached = len(list(found.iterdir()))
        kept = corpus.save(name, read_inputs(merged), MAX_CORPUS_BYTES, always=crashing)
    executions = EXECUTIONS.search(output)
    count = int(executions[1]) if executions else 0
    print(
        f"{name}: {count:,} executions in {seconds_run / 60:.1f} min, "
        f"{reached} inputs reach new code, {kept} kept, {len(crashing)} crashes",
        flush=True,
    )
    for input in crashing:
        print(f"  {base64.b64encode(input).decode()}")
    if crashing or not executions:
        print(output[-6000:], flush=True)
    return not crashing and executions is not None


def run_worker(folder: str, name: str, *arguments: str | Path) -> str:
    limits = (
        f"-max_len={MAX_INPUT_BYTES}", f"-timeout={SLOW_S}", f"-rss_limit_mb={MAX_MEMORY_MB}"
    )  # fmt: skip
    command = [sys.executable, "-m", "tests.fuzz.worker", name, *map(str, arguments), *limits]
    done = subprocess.run(
        [*command, "-print_final_stats=1"],
        check=False,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(Path(folder, "scratch"))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done.stdout


def write_inputs(folder: Path, inputs: Iterable[bytes]) -> None:
    for number, each in enumerate(inputs):
        (folder / str(number)).write_bytes(each)


def read_inputs(folder: Path) -> Sequence[bytes]:
    return [each.read_bytes() for each in folder.iterdir()]


if __name__ == "__main__":
    sys.exit(main())
