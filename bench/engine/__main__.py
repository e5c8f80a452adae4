"""The embedded engine and others, in one run: `python -m bench.engine`; see bench/README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.engine import corpus, tables
from bench.engine.ours import Embedding
from bench.engine.port import versions
from bench.engine.stages import ENGINES, KINDS

LOAD_S = 600.0  # of loading, and of rebuilding
SEARCH_S = 30.0  # of each kind of search
GRACE_S = 300.0  # beyond those, until a stage that is stuck is ended


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    figures: dict[str, Any] = {"machine": _machine(), "versions": {}, "sizes": {}}
    for name in options.only:
        figures["versions"][name] = versions(ENGINES[name])
        if not figures["versions"][name]:
            _say(f"{name}: not installed (bench/requirements.txt has it)")
    with tempfile.TemporaryDirectory(prefix="bench-engine-", dir=options.work) as work:
        for records in options.records:
            figures["sizes"][records] = _size(Path(work) / str(records), records, options, figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    print(tables.markdown(figures))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.engine")
    parser.add_argument("--records", type=_numbers, default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--only", type=_engines, default=list(ENGINES), metavar="NAME,…")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--work", type=Path, help="where to put what is made (and removed again)")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    numbers = [int(each) for each in text.split(",")]
    if any(number < corpus.CHUNK or number % corpus.CHUNK for number in numbers):
        raise argparse.ArgumentTypeError(f"multiples of {corpus.CHUNK:,}, please")
    return numbers


def _engines(text: str) -> list[str]:
    unknown = set(text.split(",")) - set(ENGINES)
    if unknown:
        raise argparse.ArgumentTypeError(f"there is {', '.join(ENGINES)}, no {', '.join(unknown)}")
    return text.split(",")


def _size(
    folder: Path, records: int, options: argparse.Namespace, figures: dict[str, Any]
) -> dict[str, Any]:
    """Measure all engines with one number of records, one after the other."""
    _say(f"{records:,} records: making them")
    embedding = Embedding()
    made = corpus.make(
        folder / "corpus",
        records,
        options.queries,
        embedding.texts,
        embedding.questions,
        time.perf_counter,
    )
    told: dict[str, Any] = {
        "text_mib": made.text_bytes / (1 << 20),
        "vectors_mib": 4 * made.dimension * records / (1 << 20),
        "embedded_per_s": made.embedded_per_s,
        "engines": {},
    }
    for name in options.only:
        if figures["versions"][name]:
            told["engines"][name] = _engine(name, folder)
    return told


def _engine(name: str, folder: Path) -> dict[str, Any]:
    """Run the stages of one engine; stops after one that fails or times out."""
    told = _stage("load", name, folder, LOAD_S)
    if not told.get("error") and not told["cut_off"]:
        told |= _stage("search", name, folder, SEARCH_S)
    if name == "cascade" and "first_answer_s" in told:
        told |= _stage("rebuild", name, folder, LOAD_S)
    return told


def _stage(stage: str, name: str, folder: Path, limit_s: float) -> dict[str, Any]:
    """Run one stage in a process."""
    kinds = len(KINDS) * (1 + len(corpus.SELECTIVITIES)) if stage == "search" else 1
    command = [sys.executable, "-m", "bench.engine.stages", stage, name]
    command += ["--corpus", str(folder / "corpus"), "--folder", str(folder / name)]
    command += ["--limit-s", str(limit_s)]
    started = time.perf_counter()
    try:
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, timeout=limit_s * kinds + GRACE_S, check=True
        )
    except subprocess.TimeoutExpired as exc:
        told = {"error": f"{stage}: ended after {exc.timeout:.0f} s"}
    except subprocess.CalledProcessError as exc:
        told = {"error": f"{stage}: failed with status {exc.returncode}"}
    else:
        told = json.loads(ended.stdout)
    _say(f"  {name} {stage}: {told.get('error', 'done')} in {time.perf_counter() - started:.0f} s")
    return told


def _machine() -> str:
    return f"{os.cpu_count()} CPUs, Python {platform.python_version()}, {platform.machine()}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
