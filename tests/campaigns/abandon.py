"""`make campaign-abandon`: clients that hang up at any moment, and what is left of their requests.

There must be no task, no connection and no file descriptor more than before, no place taken, and a
hundred requests right after are answered. In front of an upstream whose answers take their time,
and once more on the embedded engine. Few requests are worked on at once, so that many hang up
while they wait for their turn.
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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.campaigns.disconnecting_clients import leave_often
from tests.campaigns.inspected_service import Held
from tests.e2e.process import environment
from tests.upstream import Upstream
from tests.upstream.behavior import NormalAnswer

ROOT = Path(__file__).parent.parent.parent
SETTINGS = {"MAX_IN_FLIGHT": 16, "MAX_WAITING": 24, "LOG_LEVEL": "ERROR", "PORT": 0}
LANES, CALLS, POOLS = 2, 8, 3
SETTLED_S = 60.0
HEALTHY = 100


@dataclass
class Unsteady:
    """An upstream whose answers take now more and now less time."""

    rng: random.Random

    async def answer(self, writer: asyncio.StreamWriter, usual: NormalAnswer) -> None:
        await asyncio.sleep(self.rng.random() * 0.05)
        writer.write(usual())


class Service:
    """The process that is looked into."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen
        assert popen.stdout
        self.address = popen.stdout.readline().strip()
        assert self.address, "it does not serve"

    @property
    def port(self) -> int:
        return int(urlsplit(self.address).port or 0)

    def held(self) -> Held:
        """What it holds now."""
        assert self._popen.stdin
        assert self._popen.stdout
        self._popen.stdin.write("?\n")
        self._popen.stdin.flush()
        return Held(**json.loads(self._popen.stdout.readline()))


@contextlib.contextmanager
def serving(settings: dict[str, Any]) -> Iterator[Service]:
    """The service in a process of its own; it must end in order."""
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
class Toll:
    """What became of it."""

    ways: Counter[str] = field(default_factory=Counter)
    before: Held | None = None
    after: Held | None = None
    settled_s: float = 0.0


async def campaign(service: Service, requests: int, seed: int, upstream: Upstream | None) -> Toll:
    """Ask and hang up so often; an AssertionError says what is wrong."""
    toll = Toll()
    await healthy(service)  # what is opened once is open
    toll.before = await settled(service, upstream)
    assert not toll.before.places
    offline = upstream is None
    toll.ways = await leave_often(service.port, requests, random.Random(seed), writes=offline)
    began = time.monotonic()
    await healthy(service)
    toll.after = await settled(service, upstream, like=toll.before)
    toll.settled_s = time.monotonic() - began
    grown = toll.after.objects - toll.before.objects
    assert grown < max(requests, 5000), f"{grown} objects more than before"
    return toll


async def healthy(service: Service) -> None:
    """A hundred requests, all of which are answered."""
    limits = httpx.Limits(max_connections=8)
    async with httpx.AsyncClient(base_url=service.address, limits=limits, timeout=60) as client:
        asked = [
            client.get("/api/cascading-retrieval", params={"text_query": f"the cat {number}"})
            for number in range(HEALTHY)
        ]
        statuses = Counter(answer.status_code for answer in await asyncio.gather(*asked))
    assert statuses == {200: HEALTHY}, f"of a hundred healthy requests {statuses}"


async def settled(service: Service, upstream: Upstream | None, like: Held | None = None) -> Held:
    """What it holds when nothing goes on any more, which is what it held before."""
    end = time.monotonic() + SETTLED_S
    while True:
        held = await asyncio.to_thread(service.held)
        pooled = upstream.connections if upstream else 0
        for _ in range(pooled):
            held.descriptors.remove("socket")
        assert pooled <= LANES * CALLS * POOLS, f"{pooled} connections to the upstream"
        wrong = _differences(held, like)
        if not wrong:
            return held
        assert time.monotonic() < end, f"left behind: {'; '.join(wrong)}"
        await asyncio.sleep(0.1)


# The server's, and those that see to the imports.
ITS_OWN = ("run.<locals>.wrapper", "Jobs._live", "Sweeper.run")


def _differences(held: Held, like: Held | None) -> list[str]:
    wrong = []
    if held.places or held.waiting:
        wrong.append(f"{held.places} places are taken, {held.waiting} wait")
    if more_tasks := Counter(held.tasks) - Counter(ITS_OWN):
        wrong.append(f"tasks: {dict(more_tasks)}")
    if like is not None and (more := _lasting(held) - _lasting(like)):
        wrong.append(f"descriptors: {dict(more)}")
    if sum(path.endswith(".db") for path in held.descriptors) > held.threads + 1:
        wrong.append(f"more connections to the database than the {held.threads} threads need")
    return wrong


def _lasting(held: Held) -> Counter[str]:
    """All descriptors but those of the engine's files, which come and go with its segments."""
    return Counter(path for path in held.descriptors if "/records/" not in path)


def over_pinecone(requests: int, seed: int) -> Toll:
    """In front of an upstream."""
    with Upstream() as upstream:
        settings = environment(upstream, PINECONE_LANES=LANES, PINECONE_LANE_CALLS=CALLS)
        with serving(settings | {"PORT": "0"}) as service:
            upstream.behave(Unsteady(random.Random(seed)), "dense", "sparse", "control")
            return asyncio.run(campaign(service, requests, seed, upstream))


def embedded(requests: int, seed: int) -> Toll:
    """On the engine in the process."""
    with tempfile.TemporaryDirectory() as folder:
        with serving({"DATA_DIR": folder, "LOAD_SAMPLES": "true"}) as service:
            return asyncio.run(campaign(service, requests, seed, None))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make campaign-abandon", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for name, run in (("Pinecone", over_pinecone), ("embedded", embedded)):
        began = time.monotonic()
        toll = run(asked.requests, asked.seed)
        assert toll.before
        assert toll.after
        print(
            f"{name}: {asked.requests} abandoned (seed {asked.seed}) in "
            f"{time.monotonic() - began:.0f} s; {dict(sorted(toll.ways.items()))}\n"
            f"  tasks {len(toll.before.tasks)} → {len(toll.after.tasks)}, descriptors without "
            f"the pools' {len(toll.before.descriptors)} → {len(toll.after.descriptors)}, objects "
            f"{toll.before.objects} → {toll.after.objects}, memory {toll.before.memory_mib:.0f} → "
            f"{toll.after.memory_mib:.0f} MiB; {HEALTHY} healthy requests right after, all "
            f"answered; settled after {toll.settled_s:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
