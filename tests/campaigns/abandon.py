"""`make campaign-abandon`: clients that disconnect at any moment, and a check for leaked resources.

Afterwards the service must have no more tasks, connections and file descriptors than before and no
occupied slot, and a hundred requests must be answered. Runs in front of a fake upstream with random
delays, and on the embedded engine. Few requests run at once, so that many clients disconnect while
they are queued.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.campaigns.disconnecting_clients import disconnect_repeatedly
from tests.campaigns.inspected_service import Resources
from tests.e2e.process import environment
from tests.upstream import Upstream
from tests.upstream.behavior import NormalAnswer

ROOT = Path(__file__).parent.parent.parent
SETTINGS = {"MAX_IN_FLIGHT": 16, "MAX_WAITING": 24, "LOG_LEVEL": "ERROR", "PORT": 0}
LANES, CALLS, POOLS = 2, 8, 3
SETTLED_S = 60.0
HEALTHY = 100


@dataclass
class RandomDelay:
    """A behavior of the upstream: a random delay."""

    rng: random.Random

    async def answer(self, writer: asyncio.StreamWriter, usual: NormalAnswer) -> None:
        await asyncio.sleep(self.rng.random() * 0.05)
        writer.write(usual())


class Service:
    """The inspected process."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen
        assert popen.stdout
        self.address = popen.stdout.readline().strip()
        assert self.address, "it does not serve"

    @property
    def port(self) -> int:
        return int(urlsplit(self.address).port or 0)

    def resources(self) -> Resources:
        """The resources that the process holds now."""
        assert self._popen.stdin
        assert self._popen.stdout
        self._popen.stdin.write("?\n")
        self._popen.stdin.flush()
        return Resources(**json.loads(self._popen.stdout.readline()))


@contextlib.contextmanager
def serving(settings: dict[str, Any]) -> Iterator[Service]:
    """Run the service in its own process, which must exit with status 0."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    kept |= {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.campaigns.inspected_service"],
        cwd=ROOT,
        env=kept | {name: str(value) for name, value in (SETTINGS | settings).items()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as popen:
        try:
            yield Service(popen)
            assert popen.stdin
            popen.stdin.close()
            assert popen.wait(60) == 0, "it did not end in order"
        finally:
            popen.kill()


@dataclass
class Outcome:
    """The result of a campaign."""

    ways: Counter[str] = field(default_factory=Counter)
    before: Resources | None = None
    after: Resources | None = None
    settled_s: float = 0.0


async def campaign(
    service: Service, requests: int, seed: int, upstream: Upstream | None
) -> Outcome:
    """Send and abandon `requests` requests; raises AssertionError for any leak."""
    outcome = Outcome()
    await imports_available(service)  # their database is opened in the background
    await healthy(service)  # opens what is opened on first use
    outcome.before = await settled(service, upstream)
    assert not outcome.before.slots
    offline = upstream is None
    outcome.ways = await disconnect_repeatedly(
        service.port, requests, random.Random(seed), writes=offline
    )
    began = time.monotonic()
    await healthy(service)
    outcome.after = await settled(service, upstream, like=outcome.before)
    outcome.settled_s = time.monotonic() - began
    grown = outcome.after.objects - outcome.before.objects
    assert grown < max(requests, 5000), f"{grown} objects more than before"
    return outcome


async def imports_available(service: Service) -> None:
    """Wait until imports are no longer answered with 503."""
    async with asyncio.timeout(SETTLED_S), httpx.AsyncClient(timeout=SETTLED_S) as client:
        while (await client.get(f"{service.address}/api/imports")).status_code != HTTPStatus.OK:
            await asyncio.sleep(0.05)


async def healthy(service: Service) -> None:
    """Send a hundred requests, all of which must be answered."""
    limits = httpx.Limits(max_connections=8)
    async with httpx.AsyncClient(base_url=service.address, limits=limits, timeout=60) as client:
        asked = [
            client.get("/api/cascading-retrieval", params={"text_query": f"the cat {number}"})
            for number in range(HEALTHY)
        ]
        statuses = Counter(answer.status_code for answer in await asyncio.gather(*asked))
    assert statuses == {200: HEALTHY}, f"statuses of a hundred healthy requests: {statuses}"


async def settled(
    service: Service, upstream: Upstream | None, like: Resources | None = None
) -> Resources:
    """Wait until the service is idle and holds no more than `like`; returns its resources."""
    end = time.monotonic() + SETTLED_S
    while True:
        resources = await asyncio.to_thread(service.resources)
        pooled = upstream.connections if upstream else 0
        for _ in range(pooled):
            resources.descriptors.remove("socket")
        assert pooled <= LANES * CALLS * POOLS, f"{pooled} connections to the upstream"
        wrong = _differences(resources, like)
        if not wrong:
            return resources
        assert time.monotonic() < end, f"left behind: {'; '.join(wrong)}"
        await asyncio.sleep(0.1)


# Tasks of the server and of the imports, which run all the time.
PERMANENT_TASKS = (
    "run.<locals>.wrapper",
    "Jobs._run",
    "Cleanup.run",
    "Keys._follow",
    "LiveGrants._check_periodically",
)


def _differences(resources: Resources, like: Resources | None) -> list[str]:
    wrong = []
    if resources.slots or resources.queued:
        wrong.append(f"{resources.slots} slots are occupied, {resources.queued} queued")
    if more_tasks := Counter(resources.tasks) - Counter(PERMANENT_TASKS):
        wrong.append(f"tasks: {dict(more_tasks)}")
    if like is not None and (more := _stable_descriptors(resources) - _stable_descriptors(like)):
        wrong.append(f"descriptors: {dict(more)}")
    if sum(path.endswith(".db") for path in resources.descriptors) > resources.threads + 1:
        wrong.append(f"more connections to the database than the {resources.threads} threads need")
    return wrong


def _stable_descriptors(resources: Resources) -> Counter[str]:
    """All descriptors except those of the engine, whose segment files come and go."""
    return Counter(path for path in resources.descriptors if "/records/" not in path)


def over_pinecone(requests: int, seed: int) -> Outcome:
    """Run the campaign in front of a fake upstream."""
    with Upstream() as upstream:
        settings = environment(upstream, PINECONE_LANES=LANES, PINECONE_LANE_CALLS=CALLS)
        with serving(settings | {"PORT": "0"}) as service:
            upstream.behave(RandomDelay(random.Random(seed)), "dense", "sparse", "control")
            return asyncio.run(campaign(service, requests, seed, upstream))


def embedded(requests: int, seed: int) -> Outcome:
    """Run the campaign on the embedded engine."""
    with tempfile.TemporaryDirectory() as folder:
        with serving({"DATA_DIR": folder, "LOAD_SAMPLES": "true"}) as service:
            return asyncio.run(campaign(service, requests, seed, None))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make campaign-abandon", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for name, run in (("Pinecone", over_pinecone), ("embedded", embedded)):
        began = time.monotonic()
        outcome = run(options.requests, options.seed)
        assert outcome.before
        assert outcome.after
        before, after = outcome.before, outcome.after
        print(
            f"{name}: {options.requests} abandoned (seed {options.seed}) in "
            f"{time.monotonic() - began:.0f} s; {dict(sorted(outcome.ways.items()))}\n"
            f"  tasks {len(before.tasks)} → {len(after.tasks)}, descriptors without pooled "
            f"connections {len(before.descriptors)} → {len(after.descriptors)}, objects "
            f"{before.objects} → {after.objects}, memory {before.memory_mib:.0f} → "
            f"{after.memory_mib:.0f} MiB; {HEALTHY} healthy requests right after, all "
            f"answered; settled after {outcome.settled_s:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
