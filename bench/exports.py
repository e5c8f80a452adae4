"""Exports of the embedded engine while another client writes: `python -m bench.exports`.

Loads records, exports all of them in several formats while they are rewritten and others are added
and deleted, and samples the memory of the process. A record that exists the whole time must be
exported exactly once. A client must recognize the export of a killed server as incomplete. An
export that is loaded into a fresh directory and exported again must give the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.command import end_on_signals, positive
from bench.offline import LOAD_TIMEOUT_S, load_records
from bench.processes import Failed, Process, environment, free_port, running

MEGABYTE = 1_000_000
LOOK_EVERY_S = 0.05
AT_ONCE = 50  # records in one write of the other client
PARTIAL = 18  # exit status of curl: partial body
WAYS = {
    "NDJSON, alone": ("/api/export", "identity"),
    "NDJSON": ("/api/export", "identity"),
    "NDJSON, gzip": ("/api/export", "gzip"),
    "CSV": ("/api/export?format=csv", "identity"),
    "CSV, fields": ("/api/export?format=csv&fields=chunk_text,touched", "identity"),
    "filter": ('/api/export?filter={"chunk_text":{"$exists":true}}', "identity"),
}


@dataclass
class Exported:
    """One export, as the client received it."""

    body: bytes
    seconds: float
    wire_bytes: int


class MemorySampler:
    """Samples the peak memory of a process during the block."""

    def __init__(self, process: Process) -> None:
        self.most_mib = 0.0
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            self.most_mib = max(self.most_mib, self._process.memory_mib())

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


class Writer:
    """Rewrites records, and adds and deletes others, during the block."""

    def __init__(self, process: Process, records: int) -> None:
        self.written = 0
        self._url = process.url
        self._records = records
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60, trust_env=False) as client:
            for turn in itertools.count():
                if self._over.is_set():
                    return
                first = turn * 7_919 * AT_ONCE % self._records
                ids = [str((first + n) % self._records) for n in range(AT_ONCE)]
                some = [{"_id": id, "chunk_text": f"anew {turn}", "touched": turn} for id in ids]
                passing = [{"_id": f"passing-{n}", "chunk_text": "passing"} for n in range(10)]
                answer = client.post("/api/records", json=[*some, *passing])
                gone = {"ids": [each["_id"] for each in passing[turn % 2 :: 2]]}
                client.request("DELETE", "/api/records", json=gone)
                if answer.status_code != httpx.codes.OK:
                    raise Failed(f"a write was answered with {answer.status_code}")
                self.written += len(some)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def served(data_dir: Path) -> Iterator[Process]:
    port = free_port()
    settings = {"PORT": str(port), "DATA_DIR": str(data_dir), "LOG_LEVEL": "WARNING"}
    with running("cascade", port, ["service", "serve"], settings) as process:
        yield process


def export(process: Process, path: str, encoding: str = "identity") -> Exported:
    """Read a whole export; raises `httpx.TransportError` if it is incomplete."""
    began = time.perf_counter()
    parts: list[bytes] = []
    headers = {"Accept-Encoding": encoding}
    with (
        httpx.Client(timeout=300, trust_env=False) as client,
        client.stream("GET", process.url + path, headers=headers) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            raise Failed(f"an export was answered with {answer.status_code}")
        parts.extend(answer.iter_raw())
    raw = b"".join(parts)
    seconds = time.perf_counter() - began
    return Exported(gzip.decompress(raw) if encoding == "gzip" else raw, seconds, len(raw))


def ids_in(body: bytes, path: str) -> Counter[str]:
    if "csv" in path:
        csv.field_size_limit(MEGABYTE)
        rows = csv.reader(io.StringIO(body.decode(), newline=""))
        return Counter(row[0] for row in itertools.islice(rows, 1, None))
    return Counter(json.loads(line)["_id"] for line in body.splitlines())


def measure(process: Process, records: int) -> int:
    """Export in each format beside a writer; returns the number of missing or repeated records."""
    wrong = 0
    print(f"{'':<14}{'records/s':>10}{'MB/s':>7}{'on the wire':>13}{'MiB before':>12}{'most':>6}")
    for name, (path, encoding) in WAYS.items():
        before = process.memory_mib()
        writer = Writer(process, records)
        with MemorySampler(process) as sampler, nullcontext() if "alone" in name else writer:
            done = export(process, path, encoding)
        found = ids_in(done.body, path)
        bad = sum(found[str(n)] != 1 for n in range(records))
        wrong += bad
        rate, size = sum(found.values()) / done.seconds, len(done.body) / MEGABYTE
        print(
            f"{name:<14}{rate:>10,.0f}{size / done.seconds:>7.1f}"
            f"{done.wire_bytes / MEGABYTE:>10.1f} MB{before:>12.0f}{sampler.most_mib:>6.0f}"
            f"   {writer.written:,} written meanwhile; missing or repeated: {bad}"
        )
    return wrong


def killed(data_dir: Path) -> bool:
    """Kill a server during exports; returns whether its clients report them as incomplete."""
    with served(data_dir) as process:
        program = shutil.which("curl")
        command = [program or "curl", "--silent", "--noproxy", "*", "--limit-rate", "1M"]
        curl = program and subprocess.Popen(
            [*command, process.url + "/api/export"], stdout=subprocess.DEVNULL, env=environment({})
        )
        told = ""
        try:
            with httpx.stream("GET", process.url + "/api/export", trust_env=False) as answer:
                for number, _ in enumerate(answer.iter_raw()):
                    if number == 20:
                        process.kill()
        except httpx.TransportError as exc:
            told = f"{type(exc).__name__}: {exc}"
        status = curl.wait(60) if curl else None
    print(f"killed during an export: httpx raises {told!r}, curl exits with {status}")
    return bool(told) and status in {None, PARTIAL, 56}  # 56: connection reset


def load(path: Path, data_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service", "load", str(path)],
        env=environment({"DATA_DIR": str(data_dir)}),
        cwd=path.parent,
        capture_output=True,
        text=True,
        timeout=LOAD_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise Failed(f"the export could not be loaded: {done.stderr.strip()[-300:]}")


def same_again(folder: Path, data_dir: Path) -> bool:
    """Export, load into a fresh directory, export again; returns whether the bytes are equal."""
    paths = [WAYS["CSV"][0], WAYS["NDJSON"][0]]
    with served(data_dir) as process:
        before = [export(process, path).body for path in paths]
    (folder / "again.csv").write_bytes(before[0])
    load(folder / "again.csv", folder / "again")
    with served(folder / "again") as process:
        after = [export(process, path).body for path in paths]
    digests = [hashlib.sha256(body).hexdigest()[:16] for body in [*before, *after]]
    print(f"exported, loaded, exported again: CSV and NDJSON are {digests}")
    return before == after


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.exports")
    parser.add_argument("--records", type=positive, default=100_000)
    options = parser.parse_args(arguments)
    end_on_signals()
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {options.records:,} records")
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            load_records(folder, options.records)
            data_dir = folder / "var"
            with served(data_dir) as process:
                export(process, "/api/export?fields=touched")  # warm up
                wrong = measure(process, options.records)
            well = [wrong == 0, killed(data_dir), same_again(folder, data_dir)]
    except Failed as exc:
        print(f"bench.exports: {exc}", file=sys.stderr)
        return 1
    return 0 if all(well) else 1


if __name__ == "__main__":
    raise SystemExit(main())
