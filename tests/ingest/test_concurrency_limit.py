"""Concurrency limit: decreases after a rate limit, increases on success, and pauses."""

from __future__ import annotations

import asyncio

from service.ingest.concurrency_limit import ConcurrencyLimit


async def waits(flow: ConcurrencyLimit) -> asyncio.Task[int | None]:
    """Starts an `acquire` and checks that it waits."""
    task = asyncio.create_task(flow.acquire())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_concurrency_limit_bounds_calls_in_flight() -> None:
    flow = ConcurrencyLimit(2)
    assert [await flow.acquire(), await flow.acquire()] == [0, 0]
    third = await waits(flow)
    flow.release()
    assert await third == 0


async def test_concurrency_limit_grows_by_one_per_successful_round() -> None:
    flow = ConcurrencyLimit(4, 1)
    limits = []
    for _ in range(12):
        flow.on_success()
        limits.append(flow.limit)
    assert limits == [2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]


async def test_concurrency_limit_halves_once_per_round() -> None:
    flow = ConcurrencyLimit(8)
    rounds = [await flow.acquire() for _ in range(4)]
    for round in rounds:
        assert round is not None
        flow.on_rate_limit(round, 0)
        flow.release()
    assert flow.limit == 4
    round = await flow.acquire()
    assert round is not None
    flow.on_rate_limit(round, 0)
    assert flow.limit == 2


async def test_concurrency_limit_pauses_after_rate_limit() -> None:
    flow = ConcurrencyLimit(8)
    assert await flow.acquire() == 0
    flow.on_rate_limit(0, 600)
    flow.release()
    waiting = await waits(flow)
    flow.close()
    assert await waiting is None


async def test_concurrency_limit_is_one_while_yielding() -> None:
    flow = ConcurrencyLimit(4)
    flow.yield_for(0.01)
    assert flow.limit == 1
    async with asyncio.timeout(60):
        assert await flow.acquire() == 0
    second = await waits(flow)
    flow.yield_for(0)
    flow.release()
    assert await second == 0
    assert flow.limit == 4


async def test_concurrency_limit_grants_nothing_in_longest_pause() -> None:
    flow = ConcurrencyLimit(4)
    flow.pause(600)
    flow.pause(1)
    assert 590 < flow.pause_left_s <= 600
    waiting = await waits(flow)
    flow.close()
    assert await waiting is None
    assert await flow.acquire() is None


async def test_concurrency_limit_resumes_after_pause() -> None:
    flow = ConcurrencyLimit(1)
    flow.pause(0.02)
    async with asyncio.timeout(60):
        assert await flow.acquire() == 0
