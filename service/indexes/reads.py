"""Hedged reads with a deadline, behind a circuit breaker.

Only for idempotent calls, so not for writes.

- A circuit breaker rejects calls while the upstream is down.
- A second attempt is made on another lane if the first one fails with a transient error, or takes
  much longer than usual (a hedged request). The first response wins; the other attempt is
  cancelled.
- There is at most one second attempt per call, and a retry budget over all calls, so that an
  upstream in trouble does not get twice the load (docs/decisions/0012).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from service.errors import (
    DeadlineExceeded,
    RequestError,
    UpstreamCircuitOpen,
    UpstreamGarbled,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from service.indexes.circuit_breaker import PROBE_INTERVAL_S, CircuitBreaker
from service.indexes.latency_tracker import LatencyTracker
from service.indexes.pool import ClientT, Lane, LanePool

ValueT = TypeVar("ValueT")
ValueT_co = TypeVar("ValueT_co", covariant=True)

EARNED_PER_CALL = 0.055  # second attempts: enough for the one call in twenty beyond the p95
MAX_BUDGET = 10.0
INITIAL_BUDGET = 2.0
RETRY_DELAY_S = 0.03  # on average
DEFAULT_FAIR_S = 1.0
CANCEL_GRACE_S = 0.05

TRANSIENT = (UpstreamUnavailable, UpstreamUnreachable)
UPSTREAM_DOWN = (*TRANSIENT, UpstreamRateLimited, UpstreamGarbled, UpstreamTimeout)


class ReadResult(NamedTuple, Generic[ValueT_co]):
    """A value, and the number of attempts that it took."""

    value: ValueT_co
    tries: int


@dataclass(slots=True)
class ReadCounts:
    """Calls since the start. Those that the circuit breaker rejected made no attempt."""

    calls: int = 0
    rejected: int = 0
    hedges: int = 0
    retries: int = 0


class RetryBudget:
    """A token bucket for second attempts, filled a little by each call."""

    def __init__(self) -> None:
        self._tokens = INITIAL_BUDGET

    def earn(self) -> None:
        self._tokens = min(self._tokens + EARNED_PER_CALL, MAX_BUDGET)

    def spend(self) -> bool:
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class HedgedReads(Generic[ClientT]):
    """Up to two attempts per call, behind a circuit breaker."""

    def __init__(self, pool: LanePool[ClientT]) -> None:
        self.counts = ReadCounts()
        self._pool = pool
        self._circuit = CircuitBreaker()
        self._latencies = LatencyTracker()
        self._budget = RetryBudget()

    @property
    def is_circuit_open(self) -> bool:
        return self._circuit.is_open

    @property
    def in_flight(self) -> int:
        """The number of attempts in flight, and of writes, which share the pool."""
        return self._pool.in_flight

    async def call(
        self, operation: Callable[[ClientT], Awaitable[ValueT]], timeout_s: float
    ) -> ReadResult[ValueT]:
        self.counts.calls += 1
        if not self._circuit.allows_call():
            self.counts.rejected += 1
            raise UpstreamCircuitOpen(
                f"{self._pool.name} has failed repeatedly and is not called for a moment; "
                "try again shortly",
                retry_after=PROBE_INTERVAL_S,
                tries=0,
            )
        self._budget.earn()
        call = _HedgedCall(self._pool, operation, self._budget, self.counts, self._hedge_delay_s())
        try:
            value = await call.run(timeout_s)
        except UPSTREAM_DOWN:
            self._circuit.record_failure()
            raise
        except RequestError:
            self._circuit.record_success()
            raise
        except (TimeoutError, asyncio.CancelledError) as exc:
            if call.elapsed_s >= self._fair_s():
                self._circuit.record_failure()
            if isinstance(exc, TimeoutError):
                raise deadline_exceeded(self._pool.name, timeout_s, call.tries) from None
            raise
        self._circuit.record_success()
        self._latencies.add(call.elapsed_s)
        return ReadResult(value, call.tries)

    def _hedge_delay_s(self) -> float | None:
        """The p95 latency, after which a call is hedged; None while it is unknown.

        If about one call in twenty is slow, the p95 is short or long by chance, so it is clamped
        to between two and three times the median.
        """
        p50, p95 = self._latencies.p50, self._latencies.p95
        if p50 is None or p95 is None:
            return None
        return min(max(p95, 2 * p50), 3 * p50)

    def _fair_s(self) -> float:
        """A call that was given up sooner than this says nothing about the upstream's health."""
        p95 = self._latencies.p95
        return DEFAULT_FAIR_S if p95 is None else 2 * p95


class _HedgedCall(Generic[ClientT, ValueT]):
    """One call, with its second attempt if there is one.

    The first attempt runs in the caller's task, since most calls need no other. If the second one
    succeeds first, it interrupts the caller by rescheduling the timeout to now.
    """

    def __init__(
        self,
        pool: LanePool[ClientT],
        operation: Callable[[ClientT], Awaitable[ValueT]],
        budget: RetryBudget,
        counts: ReadCounts,
        hedge_delay_s: float | None,
    ) -> None:
        self.tries = 1
        self._pool = pool
        self._operation = operation
        self._budget = budget
        self._counts = counts
        self._hedge_delay_s = hedge_delay_s
        self._sent_at: float | None = None
        self._lane: Lane[ClientT] | None = None
        self._second: asyncio.Task[ValueT] | None = None
        self._timeout: asyncio.Timeout | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the call was sent; the time in the pool's queue does not count."""
        return 0.0 if self._sent_at is None else time.monotonic() - self._sent_at

    async def run(self, timeout_s: float) -> ValueT:
        """Raises `TimeoutError` at the deadline."""
        try:
            async with asyncio.timeout(timeout_s) as self._timeout:
                return await self._attempts()
        except TimeoutError:
            if (second := self._successful_second()) is not None:
                return second.result()
            raise
        except RequestError as exc:
            exc.tries = self.tries
            raise
        finally:
            self._timeout = None
            if self._second is not None:
                self._second.cancel()
                await asyncio.wait({self._second}, timeout=CANCEL_GRACE_S)

    async def _attempts(self) -> ValueT:
        try:
            return await self._first_attempt()
        except RequestError as exc:
            if self._second is not None:
                return await self._second
            if not isinstance(exc, TRANSIENT) or not self._may_try_again():
                raise
        self._counts.retries += 1
        await asyncio.sleep(RETRY_DELAY_S * random.uniform(0.5, 1.5))  # noqa: S311 - only jitter
        return await self._second_attempt()

    async def _first_attempt(self) -> ValueT:
        timer = None
        self._lane = await self._pool.acquire()
        self._sent_at = time.monotonic()
        try:
            if self._hedge_delay_s is not None:
                loop = asyncio.get_running_loop()
                timer = loop.call_later(self._hedge_delay_s, self._hedge)
            return await self._pool.call_on(self._lane, self._operation)
        finally:
            self._pool.release(self._lane)
            if timer is not None:
                timer.cancel()

    def _hedge(self) -> None:
        """Start a second attempt beside the first one, which is slow."""
        if self._may_try_again():
            self._counts.hedges += 1
            self._second = asyncio.create_task(self._second_attempt(), name="hedged request")
            self._second.add_done_callback(self._on_second_done)

    def _may_try_again(self) -> bool:
        """A full pool has enough to do without second attempts."""
        if self._pool.is_full or not self._budget.spend():
            return False
        self.tries += 1
        return True

    async def _second_attempt(self) -> ValueT:
        return await self._pool.call(self._operation, avoid=self._lane)

    def _on_second_done(self, second: asyncio.Task[ValueT]) -> None:
        if second.cancelled() or second.exception() is not None:
            return
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time())

    def _successful_second(self) -> asyncio.Task[ValueT] | None:
        second = self._second
        if second is None or not second.done() or second.cancelled() or second.exception():
            return None
        return second


def deadline_exceeded(name: str, seconds: float, tries: int = 1) -> DeadlineExceeded:
    """The error for an upstream that did not answer in time."""
    return DeadlineExceeded(
        f"{name} did not answer within {seconds * 1000:.0f} ms; try again", tries=tries
    )
