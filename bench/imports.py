"""A large import beside searches, on the embedded engine: `python -m bench.imports`.

Generates NDJSON, uploads it to `POST /api/imports`, and measures from outside: the memory of the
process, the latency of /healthz (50 requests per second over one connection, so that it is mostly
the lag of the event loop), and the searches per second in windows of a few seconds. The same is
measured before and after the import. Some records of the same kind exist from the start, since the
cost of a search depends on the length of the texts that it finds. The counts of the job are
checked.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.command import end_on_signals, positive
from bench.engine.corpus import texts
from bench.figures import percentile
from bench.processes import ROOT, Failed, Process, environment, free_port, running

# Every search is different, so that the caches are full from the start.
SEARCH = "/api/semantic-search?text_query={n}"
MEGABYTE = 1_000_000
PROBE_EVERY_S = 0.02
LOOK_EVERY_S = 0.25
LAG_BOUND_MS = 50.0
ENDED = {"succeeded", "failed", "cancelled"}


@dataclass
class Watched:
    """Measurements of the process from outside, over a period."""

    lags_ms: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)
    anonymous_mib: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def line(self, name: str) -> str:
        lags = sorted(self.lags_ms)
        rates = sorted(self.rates)
        return (
            f"{name:<10} searches/s {_spread(rates)}   lag ms p50 {percentile(lags, 0.5):.1f} "
            f"p99 {percentile(lags, 0.99):.1f} max {max(lags, default=0):.0f}   "
            f"peak memory MiB {max(self.rss_mib):.0f} "
            f"(anonymous {max(self.anonymous_mib):.0f})"
        )


def _spread(ordered: list[float]) -> str:
    if not ordered:
        return "-"
    middle = ordered[len(ordered) // 2]
    return f"{ordered[0]:.0f}/{middle:.0f}/{ordered[-1]:.0f}"


def write_records(path: Path, megabytes: int, paragraphs: int, prefix: str = "r") -> int:
    """Write NDJSON of about this size; returns the number of records."""
    size = number = 0
    parts: list[str] = []
    with path.open("w") as file:
        for text in _endless():
            parts.append(text)
            if len(parts) < paragraphs:
                continue
            record = {"_id": f"{prefix}{number}", "chunk_text": " ".join(parts), "number": number}
            size += file.write(json.dumps(record) + "\n")
            number, parts = number + 1, []
            if size >= megabytes * MEGABYTE:
                return number
    raise AssertionError("there is always more")


def _endless() -> Iterator[str]:
    made = list(texts(40_000))
    rounds = 0
    while True:
        for at, text in enumerate(made):
            # In a different order each time, so that no two records are equal.
            yield made[(at * 7_919 + rounds * 131) % len(made)] if rounds else text
        rounds += 1


async def probe(process: Process, watched: Watched) -> None:
    """Request /healthz repeatedly over one connection, until cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    try:
        while True:
            began = time.perf_counter()
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: probe\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            watched.lags_ms.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(PROBE_EVERY_S)
    finally:
        writer.close()


async def look(process: Process, watched: Watched) -> None:
    """Sample the memory of the process until cancelled."""
    while True:
        watched.rss_mib.append(process.memory_mib())
        watched.anonymous_mib.append(process.memory_mib("RssAnon"))
        await asyncio.sleep(LOOK_EVERY_S)


async def searches(process: Process, in_flight: int, seconds: float) -> float:
    """Searches per second in one window."""
    url = process.url + SEARCH
    load = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load", url),
        *("--connections", str(in_flight), "--seconds", str(seconds)),
        env=environment({}),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await load.communicate()
    got = json.loads(printed)
    if got["errors"]:
        raise Failed(f"{got['errors']} searches failed")
    return float(got["requests_per_s"])


class Watching:
    """Measures latency and memory during the block."""

    def __init__(self, process: Process) -> None:
        self.watched = Watched()
        self._process = process

    async def __aenter__(self) -> Watched:
        self._tasks = [
            asyncio.create_task(probe(self._process, self.watched)),
            asyncio.create_task(look(self._process, self.watched)),
        ]
        return self.watched

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def upload(process: Process, path: Path) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=600)
    with path.open("rb") as body:
        headers = {
            "Content-Type": "application/x-ndjson",
            "Content-Length": str(path.stat().st_size),
        }
        connection.request("POST", "/api/imports", body, headers)
        answer = connection.getresponse()
        job: dict[str, Any] = json.loads(answer.read())
    connection.close()
    if answer.status != http.client.ACCEPTED:
        raise Failed(f"the upload was answered with {answer.status}: {job}")
    return job


def job_of(process: Process, id: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)
    connection.request("GET", f"/api/imports/{id}")
    job: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return job


async def imported(process: Process, path: Path) -> dict[str, Any]:
    """Import a file; returns the finished job."""
    job = await asyncio.to_thread(upload, process, path)
    while job["status"] not in ENDED:
        await asyncio.sleep(0.5)
        job = await asyncio.to_thread(job_of, process, job["id"])
    return job


async def measure(
    process: Process, path: Path, records: int, size: float, options: argparse.Namespace
) -> int:
    """Measure before, during and after the import, and print the results."""
    await imported(process, path.with_name("before"))
    await searches(process, options.in_flight, 2 * options.seconds)  # warm up
    async with Watching(process) as quiet:
        await asyncio.sleep(3.0)
    async with Watching(process) as idle:
        for _ in range(options.windows):
            idle.rates.append(await searches(process, options.in_flight, options.seconds))
    print(quiet.line("quiet"))
    print(idle.line("idle"))
    began = time.perf_counter()
    async with Watching(process) as during:
        job = await asyncio.to_thread(upload, process, path)
        uploaded = time.perf_counter() - began
        while job["status"] not in ENDED:
            if not options.alone:
                during.rates.append(await searches(process, options.in_flight, options.seconds))
            await asyncio.sleep(options.rest)
            job = await asyncio.to_thread(job_of, process, job["id"])
            done = f"{job['status']} {job['written']:,} written, {during.rss_mib[-1]:.0f} MiB"
            print(f"\r{time.perf_counter() - began:6.0f} s  {done}   ", end="", file=sys.stderr)
    took = time.perf_counter() - began
    print("", file=sys.stderr)
    print(during.line("importing"))
    async with Watching(process) as after:
        for _ in range(options.windows):
            after.rates.append(await searches(process, options.in_flight, options.seconds))
    print(after.line("after"))
    print(
        f"{size:.0f} MB, {records:,} records: uploaded in {uploaded:.0f} s, all in {took:.0f} s: "
        f"{records / took:.0f} records/s, {size / took:.1f} MB/s"
    )
    lags = sorted(during.lags_ms)
    over = max(during.rss_mib) - max(quiet.rss_mib)
    print(f"peak memory over quiet: {over:.0f} MiB")
    print(f"lag p99: {percentile(lags, 0.99):.1f} ms")
    if during.rates:
        share = sorted(during.rates)[len(during.rates) // 2]
        before, later = (sorted(each.rates)[len(each.rates) // 2] for each in (idle, after))
        print(f"searches relative to idle before: {share / before:.2f}, after: {share / later:.2f}")
    right = (job["status"], job["written"], job["failed"]) == ("succeeded", records, 0)
    print(f"job: {job['status']}, {job['written']:,} written, {job['failed']} failed")
    return 0 if right else 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.imports")
    parser.add_argument("--megabytes", type=positive, default=1_000)
    parser.add_argument(
        "--paragraphs", type=positive, default=30, help="of 40 words, in one record: about 8 kB"
    )
    parser.add_argument("--before", type=positive, default=20, help="megabytes before the import")
    parser.add_argument("--in-flight", type=positive, default=16)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one window")
    parser.add_argument("--windows", type=positive, default=5, help="while nothing is imported")
    parser.add_argument("--rest", type=float, default=1.0, help="seconds between two windows")
    parser.add_argument("--alone", action="store_true", help="import without any searches")
    options = parser.parse_args(arguments)
    end_on_signals()
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs")
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "records.ndjson"
            records = write_records(path, options.megabytes, options.paragraphs)
            write_records(path.with_name("before"), options.before, options.paragraphs, "before-")
            port = free_port()
            settings = {
                "PORT": str(port),
                "DATA_DIR": f"{folder}/var",
                "LOAD_SAMPLES": "true",
                "CACHE_TTL": "0",
                "LOG_LEVEL": "WARNING",
            }
            with running("cascade", port, ["service", "serve"], settings) as process:
                size = path.stat().st_size / MEGABYTE
                return asyncio.run(measure(process, path, records, size, options))
    except Failed as exc:
        print(f"bench.imports: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
