"""`make campaign-faults`: every combination of upstream faults, with deadlines, and a total outage.

Starts the service and a fake upstream. Every response must arrive within 50 ms of its deadline and
name what is missing. In an outage, the upstream must not receive many more calls than the service
receives requests, and the service must recover soon after it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from tests.faults.combinations import COMBINATIONS, FAULTS, STAGES, find_violation
from tests.upstream import API_KEY, Hang, Reset, Status, Upstream
from tests.upstream.behavior import Behavior

DEADLINE_MS = 400
ALLOWED_MS = 50
SHORT_DEADLINE: dict[str, Any] = {"timeout_ms": DEADLINE_MS}
SEMANTIC = "/api/semantic-search"
CASCADE = "/api/cascading-retrieval"
START_S = 20.0
BACK_S = 5.0
AT_ONCE = 32


@contextlib.asynccontextmanager
async def serving(upstream: Upstream, port: int) -> AsyncIterator[aiohttp.ClientSession]:
    """Run the service in its own process; yields a client."""
    environment = os.environ | {
        "PINECONE_API_KEY": API_KEY,
        "PINECONE_DENSE_INDEX_HOST": upstream.host("dense"),
        "PINECONE_SPARSE_INDEX_HOST": upstream.host("sparse"),
        "PINECONE_CONTROLLER_HOST": upstream.host("control"),
        "PORT": str(port),
        "CACHE_TTL": "0",
        "LOG_LEVEL": "ERROR",
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve"], env=environment, stdout=log, stderr=log
        )
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                await _until_ready(client)
                yield client
        finally:
            process.terminate()
            process.wait(60)


async def _until_ready(client: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(START_S):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get("/readyz") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.05)


async def ask(client: aiohttp.ClientSession, path: str = CASCADE, **body: Any) -> tuple[int, Any]:
    """Status and body of a search."""
    async with client.post(path, json={"text_query": "the cat", **body}) as response:
        return response.status, await response.json()


async def every_combination(client: aiohttp.ClientSession, upstream: Upstream) -> list[str]:
    """Run all combinations, with closed circuit breakers at the start of each; returns failures."""
    wrong: list[str] = []
    late_ms: list[float] = []
    for fault, behaviour in FAULTS.items():
        for broken in COMBINATIONS:
            upstream.behave(behaviour, *(STAGES[stage] for stage in broken))
            for _ in range(3):
                started = time.perf_counter()
                status, body = await ask(client, **SHORT_DEADLINE)
                late_ms.append((time.perf_counter() - started) * 1000 - DEADLINE_MS)
                why = find_violation(status, body, broken)
                if why is None and late_ms[-1] > ALLOWED_MS:
                    why = f"it came {late_ms[-1]:.0f} ms after the deadline"
                if why:
                    wrong.append(f"{fault}, {'+'.join(broken)}: {why}")
            upstream.behave(None, *STAGES.values())
            await recover(client)
    print(
        f"{len(FAULTS)} faults, {len(COMBINATIONS)} combinations, {len(late_ms)} requests: "
        f"latest {max(late_ms):+.0f} ms of the deadline, {len(wrong)} wrong"
    )
    return wrong


async def recover(client: aiohttp.ClientSession) -> float:
    """The seconds until ten responses in a row are complete."""
    started = time.perf_counter()
    whole_at = started
    in_a_row = 0
    while in_a_row < 10:
        status, body = await ask(client)
        if status == 200 and not body["degraded"]:
            in_a_row += 1
            whole_at = time.perf_counter() if in_a_row == 1 else whole_at
        else:
            in_a_row = 0
            await asyncio.sleep(0.02)
        if time.perf_counter() - started > 4 * BACK_S:
            return float("inf")
    return whole_at - started


async def outage(client: aiohttp.ClientSession, upstream: Upstream, requests: int) -> list[str]:
    """Three kinds of total outage, each followed by recovery; returns failures."""
    wrong = []
    ways: dict[str, Behavior] = {"returns 503": Status(503), "resets": Reset(), "hangs": Hang()}
    for way, behaviour in ways.items():
        for _ in range(200):  # so that the usual latency is known
            await ask(client)
        upstream.behave(behaviour, *STAGES.values())
        upstream.calls.clear()
        slots = asyncio.Semaphore(AT_ONCE)
        statuses: Counter[int] = Counter()
        took_ms: list[float] = []

        async def one(
            slots: asyncio.Semaphore = slots,
            statuses: Counter[int] = statuses,
            took_ms: list[float] = took_ms,
        ) -> None:
            async with slots:
                started = time.perf_counter()
                status, _ = await ask(client, SEMANTIC, **SHORT_DEADLINE)
                took_ms.append((time.perf_counter() - started) * 1000)
                statuses[status] += 1

        await asyncio.gather(*(one() for _ in range(requests)))
        attempts = len(upstream.searches()) / requests
        upstream.behave(None, *STAGES.values())
        back_s = await recover(client)
        print(
            f"total outage, the upstream {way}: {requests} requests {dict(statuses)}, "
            f"{attempts:.3f} calls per request, p50 {statistics.median(took_ms):.1f} ms, "
            f"latest {max(took_ms):.0f} ms; recovered after {back_s:.2f} s"
        )
        if attempts > 1.1 or back_s > BACK_S or 200 in statuses:
            wrong.append(f"outage by which the upstream {way}")
    return wrong


async def campaign(requests: int, port: int) -> list[str]:
    with Upstream() as upstream:
        async with serving(upstream, port) as client:
            wrong = await every_combination(client, upstream)
            return wrong + await outage(client, upstream, requests)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.faults")
    parser.add_argument("--requests", type=int, default=2_000, help="in each outage")
    parser.add_argument("--port", type=int, default=8461)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        wrong = asyncio.run(campaign(options.requests, options.port))
    for line in wrong:
        print(f"wrong: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
