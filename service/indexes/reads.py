"""How something is asked of an index: by a deadline, not where it is down, and twice if that helps.

Knows nothing of what is asked, but that to ask it twice is the same as to ask it once; so this is
not for writes. An index in this process is asked `directly`. One behind a network is asked
`carefully`:

- A circuit keeps calls away from an upstream that is down.
- A second try goes to another lane, where the first one has failed in a way that may pass, or takes
  much longer than usual. The first answer wins; the other try is cancelled.
- Second tries are at most one for each call, and one for every eighteen altogether: an upstream
  in trouble must not get twice the work.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

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
from service.indexes.circuit import PROBE_S, Circuit
from service.indexes.latencies import Latencies
from service.indexes.pool import ClientT, Lane, Pool

AnswerT = TypeVar("AnswerT")
AnswerT_co = TypeVar("AnswerT_co", covariant=True)
ClientT_co = TypeVar("ClientT_co", covariant=True)

SHARE = 0.055  # of all calls, which a second try may be made for: one in twenty may be slow
MOST_SAVED = 10.0
SAVED_AT_START = 2.0
PAUSE_S = 0.03  # about, before what has failed is tried again
UNKNOWN_IS_FAIR_S = 1.0
CANCEL_GRACE_S = 0.05

PASSING = (UpstreamUnavailable, UpstreamUnreachable)
DOWN = (*PASSING, UpstreamRateLimited, UpstreamGarbled, UpstreamTimeout)


class Asked(NamedTuple, Generic[AnswerT_co]):
    """An answer, and how many tries it took."""

    answer: AnswerT_co
    tries: int


class Reads(Protocol[ClientT_co]):
    """A way of asking an index."""

    async def ask(
        self, ask: Callable[[ClientT_co], Awaitable[AnswerT]], seconds: float
    ) -> Asked[AnswerT]:
        """An answer within so many seconds, or a `RequestError` that knows of the tries."""
        ...


class Direct(Generic[ClientT]):
    """Asks once."""

    def __init__(self, pool: Pool[ClientT]) -> None:
        self._pool = pool

    async def ask(
        self, ask: Callable[[ClientT], Awaitable[AnswerT]], seconds: float
    ) -> Asked[AnswerT]:
        try:
            async with asyncio.timeout(seconds):
                return Asked(await self._pool.call(ask), 1)
        except TimeoutError:
            raise late(self._pool.name, seconds) from None


class Budget:
    """What is saved up for second tries, a little by each call."""

    def __init__(self) -> None:
        self._saved = SAVED_AT_START

    def earn(self) -> None:
        self._saved = min(self._saved + SHARE, MOST_SAVED)

    def spend(self) -> bool:
        if self._saved < 1:
            return False
        self._saved -= 1
        return True


class Careful(Generic[ClientT]):
    """Asks where it is worth it, and a second time where that may help."""

    def __init__(self, pool: Pool[ClientT]) -> None:
        self._pool = pool
        self._circuit = Circuit()
        self._latencies = Latencies()
        self._budget = Budget()

    async def ask(
        self, ask: Callable[[ClientT], Awaitable[AnswerT]], seconds: float
    ) -> Asked[AnswerT]:
        if not self._circuit.admits():
            raise UpstreamCircuitOpen(
                f"{self._pool.name} has failed again and again, and is left alone for a moment",
                retry_after=PROBE_S,
                tries=0,
            )
        self._budget.earn()
        call = _Call(self._pool, ask, self._budget, self._patience_s())
        try:
            answer = await call.answer(seconds)
        except DOWN:
            self._circuit.failed()
            raise
        except RequestError:
            self._circuit.answered()
            raise
        except (TimeoutError, asyncio.CancelledError) as exc:
            if call.elapsed_s >= self._fair_s():
                self._circuit.failed()
            if isinstance(exc, TimeoutError):
                raise late(self._pool.name, seconds, call.tries) from None
            raise
        self._circuit.answered()
        self._latencies.add(call.elapsed_s)
        return Asked(answer, call.tries)

    def _patience_s(self) -> float | None:
        """When a call takes longer than it should; None where nobody can tell.

        That is what only one call in twenty takes longer than. But where about one in twenty is
        slow, it is by chance that this is either short or long: so it is held to between two and
        three times what is usual.
        """
        usual, long = self._latencies.p50, self._latencies.p95
        if usual is None or long is None:
            return None
        return min(max(long, 2 * usual), 3 * usual)

    def _fair_s(self) -> float:
        """Who was given as long as this, and did not answer, may be down."""
        long = self._latencies.p95
        return UNKNOWN_IS_FAIR_S if long is None else 2 * long


class _Call(Generic[ClientT, AnswerT]):
    """One call, with its second try if there is one.

    The first try is made by the caller's own task, since most calls need no other: a second try
    that is answered ends the first by moving up the caller's timeout.
    """

    def __init__(
        self,
        pool: Pool[ClientT],
        ask: Callable[[ClientT], Awaitable[AnswerT]],
        budget: Budget,
        patience_s: float | None,
    ) -> None:
        self.tries = 1
        self._pool = pool
        self._ask = ask
        self._budget = budget
        self._patience_s = patience_s
        self._sent: float | None = None
        self._lane: Lane[ClientT] | None = None
        self._second: asyncio.Task[AnswerT] | None = None
        self._limit: asyncio.Timeout | None = None

    @property
    def elapsed_s(self) -> float:
        """Since it was sent: to wait for a free lane is no fault of the upstream."""
        return 0.0 if self._sent is None else time.monotonic() - self._sent

    async def answer(self, seconds: float) -> AnswerT:
        """Raises `TimeoutError` when the time is up."""
        try:
            async with asyncio.timeout(seconds) as self._limit:
                return await self._tried()
        except TimeoutError:
            if (second := self._answered()) is not None:
                return second.result()
            raise
        except RequestError as exc:
            exc.tries = self.tries
            raise
        finally:
            self._limit = None
            if self._second is not None:
                self._second.cancel()
                await asyncio.wait({self._second}, timeout=CANCEL_GRACE_S)

    async def _tried(self) -> AnswerT:
        try:
            return await self._first_try()
        except RequestError as exc:
            if self._second is not None:
                return await self._second  # which is under way
            if not isinstance(exc, PASSING) or not self._may_try_again():
                raise
        await asyncio.sleep(PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311 - it hides nothing
        return await self._elsewhere()

    async def _first_try(self) -> AnswerT:
        timer = None
        self._lane = await self._pool.take()
        self._sent = time.monotonic()
        try:
            if self._patience_s is not None:
                loop = asyncio.get_running_loop()
                timer = loop.call_later(self._patience_s, self._overtake)
            return await self._pool.on(self._lane, self._ask)
        finally:
            self._pool.give_back(self._lane)
            if timer is not None:
                timer.cancel()

    def _overtake(self) -> None:
        """The first try is slow: start another one beside it."""
        if self._may_try_again():
            self._second = asyncio.create_task(self._elsewhere(), name="second try")
            self._second.add_done_callback(self._on_second)

    def _may_try_again(self) -> bool:
        """A pool without a free place has enough to do."""
        if self._pool.full or not self._budget.spend():
            return False
        self.tries += 1
        return True

    async def _elsewhere(self) -> AnswerT:
        return await self._pool.call(self._ask, avoid=self._lane)

    def _on_second(self, second: asyncio.Task[AnswerT]) -> None:
        if second.cancelled() or second.exception() is not None:
            return
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    def _answered(self) -> asyncio.Task[AnswerT] | None:
        second = self._second
        if second is None or not second.done() or second.cancelled() or second.exception():
            return None
        return second


def late(name: str, seconds: float, tries: int = 1) -> DeadlineExceeded:
    """What is told of an upstream that did not answer by the deadline."""
    return DeadlineExceeded(
        f"{name} did not answer within {seconds * 1000:.0f} ms; try again", tries=tries
    )
