"""Hedged reads: retries, hedged requests, their budget, the deadline and the circuit breaker."""

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
    def open_client() -> AsyncIndex:
        return open_lane(upstream.host("dense"), API_KEY, 16)

    async with closing(LanePool("the dense index", open_client, lanes=4, calls=16)) as pool:
        yield pool


@pytest.fixture
def reads(pool: LanePool[AsyncIndex]) -> HedgedReads[AsyncIndex]:
    return HedgedReads(pool)


async def record_latencies(reads: HedgedReads[AsyncIndex]) -> None:
    """Make enough calls for the first quantiles."""
    for _ in range(MIN_SAMPLES):
        await reads.call(search, LONG)


@pytest.mark.parametrize("transient", [Status(503), Status(500), Reset()])
async def test_transient_error_is_retried_once(
    reads: HedgedReads[AsyncIndex], upstream: Upstream, transient: Any
) -> None:
    upstream.behave(Flaky(transient, 1), "dense")
    result = await reads.call(search, LONG)
    assert result.value.result.hits
    assert result.tries == len(upstream.searches()) == 2


@pytest.mark.parametrize("permanent", [Status(400), Status(401), Status(429), Garbage()])
async def test_permanent_error_is_not_retried(
    reads: HedgedReads[AsyncIndex], upstream: Upstream, permanent: Any
) -> None:
    upstream.behave(permanent, "dense")
    with pytest.raises(RequestError) as caught:
        await reads.call(search, LONG)
    assert caught.value.tries == len(upstream.searches()) == 1


async def test_failed_retry_is_raised(reads: HedgedReads[AsyncIndex], upstream: Upstream) -> None:
    upstream.behave(Status(503), "dense")
    with pytest.raises(UpstreamUnavailable) as caught:
        await reads.call(search, LONG)
    assert caught.value.tries == len(upstream.searches()) == 2


async def test_slow_call_is_hedged_on_another_lane_and_cancelled(
    reads: HedgedReads[AsyncIndex], pool: LanePool[AsyncIndex], upstream: Upstream
) -> None:
    await record_latencies(reads)
    upstream.calls.clear()
    upstream.behave(Flaky(Hang(), 1), "dense")
    clients_used = []

    async def search_by(index: AsyncIndex) -> Any:
        clients_used.append(index)
        return await search(index)

    result = await reads.call(search_by, LONG)
    assert result.value.result.hits
    assert result.tries == 2
    assert clients_used[0] is not clients_used[1]
    await upstream.until(lambda: [call.abandoned for call in upstream.searches()] == [True, False])
    assert pool.in_flight == 0


async def test_first_attempt_may_answer_before_its_hedged_request(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    """The hedged request is cancelled then."""
    await record_latencies(reads)
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


async def test_failed_hedged_request_does_not_affect_the_first_attempt(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    await record_latencies(reads)
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


async def test_no_call_is_hedged_before_latencies_are_known(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    upstream.behave(Hang(), "dense")
    with pytest.raises(DeadlineExceeded) as caught:
        await reads.call(search, SHORT)
    assert caught.value.tries == len(upstream.searches()) == 1


async def test_deadline_ends_both_attempts(
    reads: HedgedReads[AsyncIndex], pool: LanePool[AsyncIndex], upstream: Upstream
) -> None:
    await record_latencies(reads)
    upstream.calls.clear()
    upstream.behave(Hang(), "dense")
    with pytest.raises(DeadlineExceeded) as caught:
        await reads.call(search, SHORT)
    assert caught.value.tries == 2
    await upstream.until(lambda: [call.abandoned for call in upstream.searches()] == [True, True])
    assert pool.in_flight == 0


async def test_cancelled_read_cancels_both_attempts(
    reads: HedgedReads[AsyncIndex], pool: LanePool[AsyncIndex], upstream: Upstream
) -> None:
    await record_latencies(reads)
    upstream.calls.clear()
    upstream.behave(Hang(), "dense")
    read = asyncio.create_task(reads.call(search, LONG))
    await upstream.until(lambda: len(upstream.searches()) == 2)
    read.cancel()
    with pytest.raises(asyncio.CancelledError):
        await read
    await upstream.until(lambda: [call.abandoned for call in upstream.searches()] == [True, True])
    assert pool.in_flight == 0


async def test_retry_budget_bounds_hedged_requests_to_a_slow_upstream(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    await record_latencies(reads)
    upstream.calls.clear()
    upstream.behave(Hang(), "dense")
    calls = [reads.call(search, SHORT) for _ in range(40)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)
    most = INITIAL_BUDGET + EARNED_PER_CALL * (MIN_SAMPLES + 40)
    assert 40 < len(upstream.searches()) <= 40 + most


async def test_circuit_opens_for_an_upstream_that_is_down(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    upstream.behave(Reset(), "dense")
    errors = []
    for _ in range(100):
        with pytest.raises(RequestError) as caught:
            await reads.call(search, LONG)
        errors.append(caught.value)
    circuit_open = [error for error in errors if isinstance(error, UpstreamCircuitOpen)]
    assert len(circuit_open) > 50
    assert all(error.tries == 0 and error.retry_after for error in circuit_open)
    assert len(upstream.searches()) == sum(error.tries for error in errors)


async def test_circuit_closes_when_the_upstream_recovers(
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


async def test_circuit_opens_for_an_upstream_that_hangs(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    """Calls that end at their deadline count as failures."""
    await record_latencies(reads)
    upstream.behave(Hang(), "dense")
    calls = [asyncio.create_task(reads.call(search, SHORT)) for _ in range(FAILURE_THRESHOLD)]
    await asyncio.wait(calls)
    assert all(isinstance(call.exception(), DeadlineExceeded) for call in calls)
    with pytest.raises(UpstreamCircuitOpen):
        await reads.call(search, SHORT)


async def test_short_deadlines_do_not_open_the_circuit(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    upstream.behave(Hang(), "dense")
    for _ in range(3 * FAILURE_THRESHOLD):
        with pytest.raises(DeadlineExceeded):
            await reads.call(search, 0.01)
    upstream.behave(None, "dense")
    assert (await reads.call(search, LONG)).tries == 1


async def test_rejected_requests_do_not_open_the_circuit(
    reads: HedgedReads[AsyncIndex], upstream: Upstream
) -> None:
    upstream.behave(Status(400), "dense")
    for _ in range(3 * FAILURE_THRESHOLD):
        with pytest.raises(UpstreamRefused):
            await reads.call(search, LONG)
    upstream.behave(None, "dense")
    await reads.call(search, LONG)


def test_retry_budget_has_a_maximum() -> None:
    budget = RetryBudget()
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == MAX_BUDGET
    for _ in range(100):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) in {4, 5}  # floats are inexact
