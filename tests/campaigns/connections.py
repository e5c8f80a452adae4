"""`make campaign-connections`: a service whose connections are held by clients that want nothing.

500 clients send a head a byte at a time, 500 a body, 200 never read their long answers, and 2,000
are idle. Meanwhile another client searches, and connects for `/healthz`, as a probe does. Then the
clients leave, and the memory of the service must be back to what it was.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.campaigns.holding_clients import Counts
from tests.e2e.process import Process, serving_offline

ROOT = Path(__file__).parent.parent.parent
SETTLE_S = 5.0  # at most, after the clients have connected
PATH = "/api/semantic-search"
WARM_UP_CLIENTS, WARM_UP_ROUNDS = 64, 3
PAUSE_S = 0.02  # between two requests
MEMORY_TIMEOUT_S = 120.0
MAX_GROWTH_MB = 10.0
MAX_P99_RATIO, MAX_HEALTHZ_MS = 2.0, 100.0


@dataclass
class Latencies:
    """The times of requests in a phase of the campaign."""

    search_ms: list[float] = field(default_factory=list)
    healthz_ms: list[float] = field(default_factory=list)
    rejected: int = 0

    def __str__(self) -> str:
        parts = []
        for name, times in (("search", self.search_ms), ("/healthz", self.healthz_ms)):
            parts.append(
                f"{name} p50 {percentile(times, 0.5):.1f}, p99 {percentile(times, 0.99):.1f}, "
                f"max {max(times):.1f} ms of {len(times)}"
            )
        return "; ".join([*parts, f"{self.rejected} searches rejected"])


@dataclass
class Outcome:
    """The result of a campaign."""

    before: Latencies = field(default_factory=Latencies)
    held: Latencies = field(default_factory=Latencies)
    after: Latencies = field(default_factory=Latencies)
    disconnected: dict[str, int] = field(default_factory=dict)
    memory_mb: tuple[float, float, float] = (0.0, 0.0, 0.0)  # before, with the clients, after
    settled_s: float = 0.0

    @property
    def grown_mb(self) -> float:
        return self.memory_mb[2] - self.memory_mb[0]

    def violations(self) -> list[str]:
        """What is not as it must be."""
        normal = percentile(self.before.search_ms + self.after.search_ms, 0.99)
        held = percentile(self.held.search_ms, 0.99)
        healthz = percentile(self.held.healthz_ms, 0.99)
        checks = [
            (not self.held.rejected, f"{self.held.rejected} searches were rejected"),
            (held <= MAX_P99_RATIO * normal, f"p99 of searches {held:.1f} ms, not {normal:.1f}"),
            (healthz <= MAX_HEALTHZ_MS, f"p99 of /healthz is {healthz:.1f} ms"),
            (self.grown_mb <= MAX_GROWTH_MB, f"{self.grown_mb:.1f} MB are not freed"),
        ]
        return [sentence for is_met, sentence in checks if not is_met]


def percentile(times: list[float], share: float) -> float:
    """The percentile by nearest rank."""
    return sorted(times)[math.ceil(share * len(times)) - 1]


async def warm_up(address: str) -> None:
    """Search many times at once, so that the threads of searches and their caches are there."""
    limits = httpx.Limits(max_connections=WARM_UP_CLIENTS)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=120) as client:
        for number in range(WARM_UP_ROUNDS):
            more: dict[str, int | str] = {"top_k": 360, "fields": "*"}
            searches = [
                client.get(PATH, params={"text_query": f"warm up {number} {each}", **more})
                for each in range(WARM_UP_CLIENTS)
            ]
            await asyncio.gather(*searches)


async def measure(address: str, seconds: float, queries: itertools.count[int]) -> Latencies:
    """Search over one connection, and connect for each health check, one after the other."""
    latencies = Latencies()
    end = time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        while time.monotonic() < end:
            parameters = {"text_query": f"the warm cat {next(queries)}"}  # none is cached
            started = time.perf_counter()
            response = await client.get(PATH, params=parameters)
            latencies.search_ms.append(1000 * (time.perf_counter() - started))
            assert response.status_code in {200, 503}, response.text
            latencies.rejected += response.status_code == 503
            latencies.healthz_ms.append(1000 * await check_health(address))
            await asyncio.sleep(PAUSE_S)
    return latencies


async def check_health(address: str) -> float:
    """Connect and get `/healthz`; returns the seconds that it took."""
    url = urlsplit(address)
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(60):
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
    seconds = time.perf_counter() - started
    writer.close()
    return seconds


@contextlib.asynccontextmanager
async def held_connections(port: int, counts: Counts) -> AsyncIterator[dict[str, int]]:
    """Run the clients in a process of their own during the block.

    Afterwards the dictionary has how often the clients of each kind were disconnected.
    """
    options = [f"--{name.replace('_', '-')}={count}" for name, count in asdict(counts).items()]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.campaigns.holding_clients", str(port), *options),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    disconnected: dict[str, int] = {}
    try:
        assert process.stdout
        assert json.loads(await process.stdout.readline()) == {"connected": counts.total}
        yield disconnected
        output, _ = await process.communicate(b"")  # closes its stdin
        result: dict[str, Any] = json.loads(output)
        assert not result["broken"], result
        disconnected.update(result["disconnected"])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def memory_mb(process: Process) -> float:
    """The resident memory of the process that is its own."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1000


async def campaign(
    process: Process,
    address: str,
    counts: Counts,
    seconds: float,
    memory_timeout_s: float = MEMORY_TIMEOUT_S,
) -> Outcome:
    """Measure without the clients, with them, and after they have left."""
    outcome, queries = Outcome(), itertools.count()
    await warm_up(address)
    outcome.before = await measure(address, seconds, queries)
    before = memory_mb(process)
    port = int(urlsplit(address).port or 0)
    async with held_connections(port, counts) as outcome.disconnected:
        await asyncio.sleep(min(SETTLE_S, seconds))
        outcome.held = await measure(address, seconds, queries)
        held = memory_mb(process)
    left_at = time.monotonic()
    outcome.after = await measure(address, seconds, queries)
    while (after := memory_mb(process)) > before + MAX_GROWTH_MB:
        if time.monotonic() > left_at + memory_timeout_s:
            break
        await asyncio.sleep(1)
    outcome.memory_mb, outcome.settled_s = (before, held, after), time.monotonic() - left_at
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(prog="make campaign-connections", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    for name, count in asdict(Counts()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=count)
    options = vars(parser.parse_args())
    seconds = options.pop("seconds")
    counts = Counts(**options)
    with tempfile.TemporaryDirectory() as folder:
        with serving_offline(Path(folder)) as (process, address):
            outcome = asyncio.run(campaign(process, address, counts, seconds))
    print(f"load averages: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    for name in ("before", "held", "after"):
        print(f"{name:>6}: {getattr(outcome, name)}")
    print(f"disconnected: {outcome.disconnected}")
    before, held, after = outcome.memory_mb
    print(f"memory: {before:.1f} → {held:.1f} → {after:.1f} MB, {outcome.settled_s:.0f} s later")
    violations = outcome.violations()
    print("; ".join(violations) or "all is as it must be")
    return 1 if violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
