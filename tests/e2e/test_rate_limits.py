"""Rate limits that two processes share through Redis, and what happens without it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import httpx

from tests.e2e.process import Process, serving
from tests.redis_server import RedisServer, redis_server
from tests.upstream import Upstream

CALLERS = [f"caller-{number}-of-the-service" for number in range(10)]
OTHER = "another-caller-of-the-service"
SEARCH = "/api/semantic-search?text_query=cat"
LIMIT, RATE = 20, "20/h"  # one request comes back in three minutes
UNAVAILABLE = "each process limits its callers by itself"
ATTEMPTS = 3
PATIENCE_S = 100.0


class TwoProcesses:
    def __init__(self, processes: Sequence[Process], clients: Sequence[httpx.AsyncClient]) -> None:
        self._processes = processes
        self._clients = clients
        self.allowed: Counter[str] = Counter()

    async def warm_up(self) -> None:
        """The first requests hold up the event loop for longer than Redis may take."""
        requests = [
            client.get(SEARCH, headers={"Api-Key": OTHER}) for client in (*self._clients,) * 4
        ]
        await asyncio.gather(*requests)

    async def send(self, requests: int) -> None:
        """Send requests of each caller in turn, to the processes in turn."""
        limit = asyncio.Semaphore(8)

        async def send_one(number: int) -> None:
            caller = CALLERS[number % len(CALLERS)]
            client = self._clients[number // len(CALLERS) % 2]
            async with limit:
                response = await client.get(f"{SEARCH}+{number}", headers={"Api-Key": caller})
            assert response.status_code in {200, 429}, response.text
            assert response.headers["RateLimit-Limit"] == str(LIMIT)
            self.allowed[caller] += response.status_code == 200

        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(send_one(number) for number in range(requests)))

    @property
    def have_lost_redis(self) -> bool:
        return any(UNAVAILABLE in process.log() for process in self._processes)


@contextlib.asynccontextmanager
async def two_processes(upstream: Upstream, redis: RedisServer) -> AsyncIterator[TwoProcesses]:
    settings = {
        "REDIS_URL": redis.url,
        "SERVICE_API_KEYS": ",".join([*CALLERS, OTHER]),
        "RATE_LIMIT": RATE,
    }
    with serving(upstream, **settings) as (one, one_url):
        with serving(upstream, **settings) as (other, other_url):
            async with (
                httpx.AsyncClient(base_url=one_url, timeout=60) as one_client,
                httpx.AsyncClient(base_url=other_url, timeout=60) as other_client,
            ):
                processes = TwoProcesses((one, other), (one_client, other_client))
                await processes.warm_up()
                yield processes


async def test_two_processes_allow_no_more_than_the_limit(upstream: Upstream) -> None:
    for _ in range(ATTEMPTS):
        with redis_server() as redis:
            async with two_processes(upstream, redis) as processes:
                await processes.send(1000)
                if processes.have_lost_redis:
                    continue  # a stalled machine: the next test is about that
        assert set(processes.allowed.values()) <= {LIMIT, LIMIT + 1}
        assert processes.allowed.keys() == set(CALLERS)
        return
    raise AssertionError("Redis did not answer in time, again and again")


async def test_processes_limit_by_themselves_while_redis_hangs(upstream: Upstream) -> None:
    with redis_server() as redis:
        async with two_processes(upstream, redis) as processes:
            await processes.send(100)
            assert set(processes.allowed.values()) == {10}
            redis.pause()
            await processes.send(500)
            assert processes.have_lost_redis
            assert all(LIMIT <= allowed <= 2 * LIMIT for allowed in processes.allowed.values())
            before = processes.allowed.copy()
            redis.resume()
            await processes.send(100)
            # Redis goes on with the ten requests that it had counted, or a process on its own.
            assert all(processes.allowed[each] - before[each] <= LIMIT - 10 for each in CALLERS)
