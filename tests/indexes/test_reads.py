"""A read is tried a second time, on another lane, where that helps; and within a budget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pinecone import AsyncIndex

from service.errors import (
    DeadlineExceeded,
    RequestError,
    UpstreamCircuitOpen,
    UpstreamRefused,
    UpstreamUnavailable,
)
from service.indexes.circuit_breaker import FAILURE_THRESHOLD
from service.indexes.latency_tracker import MIN_SAMPLES
from service.indexes.pinecone import open_lane
from service.indexes.pool import LanePool, closing
from service.indexes.reads import (
    EARNED_PER_CALL,
    INITIAL_BUDGET,
    MAX_BUDGET,
    HedgedReads,
    RetryBudget,
)
from tests.upstream import API_KEY, Flaky, Garbage, Hang, Reset, Status, Upstream

LONG, SHORT = 20.0, 0.3


async def search(index: AsyncIndex) -> Any:
    return await index.search(namespace="n", top_k=3, inputs={"text": "the cat"})


@pytest.fixture
async def pool(upstream: Upstream) -> AsyncIterator[LanePool[AsyncIndex]]:
    def open_one() -> AsyncIndex:
        return open_lane(upstream.host("dense"), API_KEY, 16)

    async with closing(LanePool("the dense index", open_one, lanes=4, calls=16)) as pool:
        yield pool


@pytest.fixture
def reads(pool: LanePool[AsyncIndex]) -> HedgedReads[AsyncIndex]:
    return HedgedReads(pool)


async def learn(reads: HedgedReads[AsyncIndex]) -> None:
    """How long an answer usually takes."""
    for _ in range(MIN_SAMPLES):
        await reads.call(search, LONG)


@pytest.mark.parametrize("passing", [Status(503), Status(500), Reset()])
async def test_what_passes_is_tried_a_second_time(
    reads: HedgedReads[AsyncIndex], upstream: Upstream, passing: Any
) -> None:
    upstream.behave(Flaky(passing, 1), "dense")
    asked = await reads.call(search, LONG)
    assert asked.value.result.hits
    assert asked.tries == len(upstream.searches()) == 2


@pytest.mark.parametrize("lasting", [Status(400), Status(401), Status(429), Garbage()])
async def test_what_does_not_pass_is_tried_once(
    reads: HedgedReads[AsyncIndex], upstream: Upstream, lasting: Any
) -> None:
    upstream.behave(lasting, "dense")
    with pytest.raises(RequestError) as caught:
        await reads.call(search, LONG)
    assert caught.value.tries == len(upstream.searches()) == 1


async def test_a_second_failure_is_the_answer(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    upstream.behave(Status(503), "dense")
    with pytest.raises(UpstreamUnavailable) as caught:
        await reads.call(search, LONG)
    assert caught.value.tries == len(upstream.searches()) == 2


async def test_a_slow_call_is_overtaken_on_another_lane_and_given_up(
    reads: HedgedReads[AsyncIndex], pool: LanePool[AsyncIndex], upstream: Upstream
) -> None:
    await learn(reads)
    upstream.calls.clear()
    upstream.behave(Flaky(Hang(), 1), "dense")
    asked_of = []

    async def search_by(index: AsyncIndex) -> Any:
        asked_of.append(index)
        return await search(index)

    asked = await reads.call(search_by, LONG)
    assert asked.value.result.hits
    assert asked.tries == 2
    assert asked_of[0] is not asked_of[1]
    await upstream.until(lambda: [call.abandoned for call in upstream.searches()] == [True, False])
    assert pool.in_flight == 0


async def test_the_slow_call_may_still_be_the_first_to_answer(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    """Then the second one is given up."""
    await learn(reads)
    upstream.calls.clear()
    release = asyncio.Event()

    async def slow_then_hanging(index: AsyncIndex) -> str:
        if not release.is_set():
            release.set()
            await asyncio.wait_for(second.wait(), 10)
            return "first"
        second.set()
        await asyncio.Event().wait()
        return "second"

    second = asyncio.Event()
    assert await reads.call(slow_then_hanging, LONG) == ("first", 2)


async def test_a_second_try_that_fails_leaves_the_first_alone(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    await learn(reads)
    failed = asyncio.Event()
    calls = []

    async def slow_beside_failing(index: AsyncIndex) -> str:
        calls.append(index)
        if len(calls) == 1:
            await asyncio.wait_for(failed.wait(), 10)
            await asyncio.sleep(0)
            return "first"
        failed.set()
        raise UpstreamUnavailable("no")

    assert await reads.call(slow_beside_failing, LONG) == ("first", 2)


async def test_nobody_overtakes_before_it_is_known_what_is_usual(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    upstream.behave(Hang(), "dense")
    with pytest.raises(DeadlineExceeded) as caught:
        await reads.call(search, SHORT)
    assert caught.value.tries == len(upstream.searches()) == 1


async def test_the_time_is_up_for_both_tries_at_once(
    reads: HedgedReads[AsyncIndex], pool: LanePool[AsyncIndex], upstream: Upstream
) -> None:
    await learn(reads)
    upstream.calls.clear()
    upstream.behave(Hang(), "dense")
    with pytest.raises(DeadlineExceeded) as caught:
        await reads.call(search, SHORT)
    assert caught.value.tries == 2
    await upstream.until(lambda: [call.abandoned for call in upstream.searches()] == [True, True])
    assert pool.in_flight == 0


async def test_whoever_gives_up_gives_up_both_tries(
    reads: HedgedReads[AsyncIndex], pool: LanePool[AsyncIndex], upstream: Upstream
) -> None:
    await learn(reads)
    upstream.calls.clear()
    upstream.behave(Hang(), "dense")
    asking = asyncio.create_task(reads.call(search, LONG))
    await upstream.until(lambda: len(upstream.searches()) == 2)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await upstream.until(lambda: [call.abandoned for call in upstream.searches()] == [True, True])
    assert pool.in_flight == 0


async def test_second_tries_are_few_however_slow_the_upstream_is(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    await learn(reads)
    upstream.calls.clear()
    upstream.behave(Hang(), "dense")
    calls = [reads.call(search, SHORT) for _ in range(40)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)
    most = INITIAL_BUDGET + EARNED_PER_CALL * (MIN_SAMPLES + 40)
    assert 40 < len(upstream.searches()) <= 40 + most


async def test_an_upstream_that_is_down_is_left_alone(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    upstream.behave(Reset(), "dense")
    errors = []
    for _ in range(100):
        with pytest.raises(RequestError) as caught:
            await reads.call(search, LONG)
        errors.append(caught.value)
    shunned = [error for error in errors if isinstance(error, UpstreamCircuitOpen)]
    assert len(shunned) > 50
    assert all(error.tries == 0 and error.retry_after for error in shunned)
    assert len(upstream.searches()) == sum(error.tries for error in errors)


async def test_it_is_found_when_it_is_back(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    upstream.behave(Reset(), "dense")
    for _ in range(2 * FAILURE_THRESHOLD):
        with pytest.raises(RequestError):
            await reads.call(search, LONG)
    upstream.behave(None, "dense")
    async with asyncio.timeout(60):
        while True:
            try:
                await reads.call(search, LONG)
                break
            except UpstreamCircuitOpen:
                await asyncio.sleep(0.05)
    for _ in range(10):
        await reads.call(search, LONG)


async def test_one_that_hangs_is_left_alone_too(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    """Whether the deadline ended the calls, or those who waited for them."""
    await learn(reads)
    upstream.behave(Hang(), "dense")
    calls = [asyncio.create_task(reads.call(search, SHORT)) for _ in range(FAILURE_THRESHOLD)]
    await asyncio.wait(calls)
    assert all(isinstance(call.exception(), DeadlineExceeded) for call in calls)
    with pytest.raises(UpstreamCircuitOpen):
        await reads.call(search, SHORT)


async def test_a_caller_in_a_hurry_does_not_shut_the_upstream_for_others(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    upstream.behave(Hang(), "dense")
    for _ in range(3 * FAILURE_THRESHOLD):
        with pytest.raises(DeadlineExceeded):
            await reads.call(search, 0.01)
    upstream.behave(None, "dense")
    assert (await reads.call(search, LONG)).tries == 1


async def test_a_caller_with_bad_requests_does_not_shut_the_upstream_for_others(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    upstream.behave(Status(400), "dense")
    for _ in range(3 * FAILURE_THRESHOLD):
        with pytest.raises(UpstreamRefused):
            await reads.call(search, LONG)
    upstream.behave(None, "dense")
    await reads.call(search, LONG)


def test_a_budget_saves_up_to_a_limit() -> None:
    budget = RetryBudget()
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == MAX_BUDGET
    for _ in range(100):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) in {4, 5}  # as far as floats can count
