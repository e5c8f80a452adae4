"""The lane pool: balancing, the limit on concurrent calls, cancellation and closing."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from pinecone import AsyncIndex

from service.errors import UpstreamGarbled
from service.indexes.pinecone import open_lane
from service.indexes.pool import LanePool
from tests.upstream import API_KEY, Delay, Upstream

SIZE = {"lanes": 2, "calls": 4}


class Client:
    """The least that a client of a lane has."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class FailingClient(Client):
    async def close(self) -> None:
        raise RuntimeError("does not close")


async def test_pool_uses_the_lane_with_the_fewest_calls_in_flight() -> None:
    clients = [Client() for _ in range(4)]
    remaining = list(clients)
    pool = LanePool("test", remaining.pop, lanes=4, calls=8)
    all_busy, release = asyncio.Event(), asyncio.Event()
    busy: Counter[int] = Counter()

    async def work(client: Client) -> None:
        busy[id(client)] += 1
        if busy.total() == 12:
            all_busy.set()
        await release.wait()

    calls = [asyncio.create_task(pool.call(work)) for _ in range(12)]
    await all_busy.wait()
    assert sorted(busy.values()) == [3, 3, 3, 3]
    assert pool.in_flight == 12
    release.set()
    await asyncio.gather(*calls)
    assert pool.in_flight == 0
    await pool.close()
    assert all(client.closed for client in clients)


async def test_pool_bounds_concurrent_calls() -> None:
    pool = LanePool("test", Client, lanes=2, calls=3)
    running, most = 0, 0

    async def work(_: Client) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await asyncio.gather(*(pool.call(work) for _ in range(50)))
    assert most == 6
    await pool.close()


async def test_pool_closes_the_other_lanes_if_one_fails_to_close() -> None:
    opened: list[Client] = []

    def open_client() -> Client:
        opened.append(FailingClient() if not opened else Client())
        return opened[-1]

    pool = LanePool("test", open_client, lanes=3, calls=1)
    await pool.close()
    assert [client.closed for client in opened[1:]] == [True, True]


async def test_pool_reports_a_malformed_response_as_an_upstream_error() -> None:
    pool = LanePool("the dense index", Client, lanes=1, calls=1)

    async def parse(_: Client) -> str:
        return {"hits": 1}["matches"]  # type: ignore[return-value]

    with pytest.raises(UpstreamGarbled, match="the dense index"):
        await pool.call(parse)
    assert pool.in_flight == 0


async def search(index: AsyncIndex) -> object:
    return await index.search(namespace="n", top_k=3, inputs={"text": "the cat"})


async def test_pool_works_after_ten_thousand_cancelled_calls(upstream: Upstream) -> None:
    """Cancelled at every stage: before it is sent, while it connects, waits and reads."""
    pool = LanePool("dense", lambda: open_lane(upstream.host("dense"), API_KEY, 4), **SIZE)
    upstream.behave(Delay(0.002), "dense")
    rng = random.Random(4711)
    outcomes: Counter[str] = Counter()

    async def cancelled_call() -> None:
        call = asyncio.ensure_future(pool.call(search))
        if rng.random() < 0.5:
            for _ in range(rng.randrange(16)):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(rng.random() * 0.004)
        call.cancel()
        try:
            await call
            outcomes["done"] += 1
        except asyncio.CancelledError:
            outcomes["cancelled"] += 1

    for _ in range(200):
        await asyncio.gather(*(cancelled_call() for _ in range(50)))
    assert outcomes.total() == 10_000
    assert outcomes["cancelled"] > 5_000

    upstream.behave(None, "dense")
    assert pool.in_flight == 0
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*(pool.call(search) for _ in range(8)))
    assert len(answers) == 8
    await pool.close()
