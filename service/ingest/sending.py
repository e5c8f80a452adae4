"""One batch to the target: again where that can help, and apart where a part of it is refused.

Knows nothing of where records come from, nor of what happens to the others on their way.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from service.backoff import Backoff
from service.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidRequest,
    RequestError,
    Unavailable,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTooLarge,
)
from service.ingest.flow import Flow
from service.ingest.target import Failure, Target, Written

TRY_AGAIN = (Unavailable, DeadlineExceeded)
REFUSED = (BodyTooLarge, UpstreamTooLarge, InvalidRequest, UpstreamRefused)
# Of one record, in an answer.
PASSING_CODES = set[str]().union(*(kind.codes() for kind in TRY_AGAIN))


@dataclass(frozen=True, slots=True)
class Patience:
    """How often, and after how long, a batch is tried again.

    With `lasting_s`, it is tried until for so long nothing at all was taken, and at least so often.
    """

    tries: int = 8
    first_s: float = 0.5
    longest_s: float = 30.0
    lasting_s: float = 0.0
    longest_asked_s: float = 30.0

    def pause(self, failed: int, asked: float | None) -> float:
        """Twice as long each time, spread out; at least as long as was asked for, within reason."""
        pause = Backoff(self.first_s, self.longest_s).pause_s(failed)
        return pause if asked is None else min(asked, self.longest_asked_s) + pause * 0.1


class Sending:
    """Batches of one load to their target, when it is their turn, until `stopping`.

    `pace` says how long to rest after a batch that took so many seconds.
    """

    def __init__(
        self,
        target: Target,
        namespace: str,
        flow: Flow,
        pace: Callable[[float], float],
        patience: Patience,
        stopping: asyncio.Event,
    ) -> None:
        self.retries = 0
        self._target = target
        self._namespace = namespace
        self._flow = flow
        self._pace = pace
        self._patience = patience
        self._stopping = stopping
        self._moved_at = time.monotonic()  # when anything was taken, for those who wait for long

    async def write(self, records: Sequence[Mapping[str, Any]]) -> Written:
        """Write them all; what may pass by itself is tried again, or else raised."""
        written, failures = 0, dict[int, Failure]()
        left = list(range(len(records)))
        for tried in count(1):
            trouble: RequestError
            try:
                got = await self._ask([records[i] for i in left], tried)
            except REFUSED as exc:
                apart = await self._write_apart([records[i] for i in left], exc)
                written += apart.written
                failures.update((left[each.index], each) for each in apart.failures)
                break
            except TRY_AGAIN as exc:
                trouble = exc
            else:
                written += got.written
                passing = [each for each in got.failures if each.code in PASSING_CODES]
                failures.update(
                    (left[each.index], each) for each in got.failures if each not in passing
                )
                if not passing:
                    break
                left = [left[each.index] for each in passing]
                trouble = Unavailable(passing[0].detail)
            if tried >= self._patience.tries and not self._lasts():
                raise trouble
            self.retries += 1
            pause = 0.0 if self._flow.quiet_s else self._patience.pause(tried, trouble.retry_after)
            if await self._stopped_within(pause):
                raise trouble
        return Written(written, [replace(each, index=at) for at, each in failures.items()])

    async def _ask(self, records: Sequence[Mapping[str, Any]], tried: int) -> Written:
        """One call, when it is its turn. A rate limit concerns all of them."""
        round = await self._flow.take()
        if round is None:
            raise Unavailable("stopped")
        began = time.monotonic()
        try:
            written = await self._target.upsert(self._namespace, records)
        except UpstreamRateLimited as exc:
            self._flow.limited(round, self._patience.pause(tried, exc.retry_after))
            raise
        else:
            self._moved_at = time.monotonic()
            self._flow.went_well()
            self._flow.rest(self._pace(self._moved_at - began))
            return written
        finally:
            self._flow.give_back()

    def _lasts(self) -> bool:
        return time.monotonic() - self._moved_at < self._patience.lasting_s

    async def _write_apart(
        self, records: Sequence[Mapping[str, Any]], refused: RequestError
    ) -> Written:
        """A refused batch by halves: it is too large, or one of its records is not allowed."""
        if len(records) == 1:
            return Written(0, [Failure(None, 0, refused.code, refused.detail)])
        half = len(records) // 2
        first = await self.write(records[:half])
        second = await self.write(records[half:])
        moved = [replace(failure, index=failure.index + half) for failure in second.failures]
        return Written(first.written + second.written, [*first.failures, *moved])

    async def _stopped_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()
