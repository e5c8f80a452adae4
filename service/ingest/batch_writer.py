"""`BatchWriter`: writes one batch to the target, with retries.

A transient error is retried. A batch that the target refuses is halved until the refused records
are found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from service.backoff import Backoff
from service.concurrency import wait_until_set
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
from service.indexes.records import NO_COUNTS
from service.ingest.concurrency_limit import ConcurrencyLimit
from service.ingest.target import Failure, Target, WriteResult

TRANSIENT = (Unavailable, DeadlineExceeded)
REFUSED = (BodyTooLarge, UpstreamTooLarge, InvalidRequest, UpstreamRefused)
# The same errors, where a result has them for single records.
TRANSIENT_CODES = set[str]().union(*(kind.codes() for kind in TRANSIENT))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a batch is tried, and the pauses in between.

    With `outage_s`, retries go on until the target has accepted nothing for so long.
    """

    attempts: int = 8
    first_s: float = 0.5
    longest_s: float = 30.0
    outage_s: float = 0.0
    max_retry_after_s: float = 30.0

    def pause_s(self, failures: int, retry_after: float | None) -> float:
        """Exponential backoff, on top of the target's `Retry-After` where there is one."""
        pause = Backoff(self.first_s, self.longest_s).pause_s(failures)
        if retry_after is None:
            return pause
        return min(retry_after, self.max_retry_after_s) + pause * 0.1


class BatchWriter:
    """Writes the batches of one load, within the concurrency limit, until `stopping` is set."""

    def __init__(
        self,
        target: Target,
        limit: ConcurrencyLimit,
        pause_after: Callable[[float], float],
        retry_policy: RetryPolicy,
        stopping: asyncio.Event,
    ) -> None:
        self.retries = 0
        self._target = target
        self._limit = limit
        self._pause_after = pause_after
        self._retry_policy = retry_policy
        self._stopping = stopping
        self._accepted_at = time.monotonic()

    async def write(self, records: Sequence[Mapping[str, Any]], namespace: str) -> WriteResult:
        """Write all records. Raises a transient error that retries did not help."""
        written, counts, failures = 0, NO_COUNTS, dict[int, Failure]()
        left = list(range(len(records)))
        for attempt in count(1):
            error: RequestError
            try:
                result = await self._call([records[i] for i in left], namespace, attempt)
            except REFUSED as exc:
                halves = await self._write_halves([records[i] for i in left], namespace, exc)
                written += halves.written
                counts += halves.counts
                failures.update((left[each.index], each) for each in halves.failures)
                break
            except TRANSIENT as exc:
                error = exc
            else:
                written += result.written
                counts += result.counts
                transient = [each for each in result.failures if each.code in TRANSIENT_CODES]
                failures.update(
                    (left[each.index], each) for each in result.failures if each not in transient
                )
                if not transient:
                    break
                left = [left[each.index] for each in transient]
                error = Unavailable(transient[0].detail)
            if attempt >= self._retry_policy.attempts and not self._is_outage_tolerated():
                raise error
            self.retries += 1
            pause = (
                0.0
                if self._limit.pause_left_s
                else self._retry_policy.pause_s(attempt, error.retry_after)
            )
            if await wait_until_set(self._stopping, pause):
                raise error
        failed = [replace(each, index=at) for at, each in failures.items()]
        return WriteResult(written, failed, counts)

    async def _call(
        self, records: Sequence[Mapping[str, Any]], namespace: str, attempt: int
    ) -> WriteResult:
        """One call to the target. A rate limit pauses all calls of the load."""
        round = await self._limit.acquire()
        if round is None:
            raise Unavailable("stopped")
        began = time.monotonic()
        try:
            written = await self._target.upsert(namespace, records)
        except UpstreamRateLimited as exc:
            self._limit.on_rate_limit(round, self._retry_policy.pause_s(attempt, exc.retry_after))
            raise
        else:
            self._accepted_at = time.monotonic()
            self._limit.on_success()
            self._limit.yield_for(self._pause_after(self._accepted_at - began))
            return written
        finally:
            self._limit.release()

    def _is_outage_tolerated(self) -> bool:
        return time.monotonic() - self._accepted_at < self._retry_policy.outage_s

    async def _write_halves(
        self, records: Sequence[Mapping[str, Any]], namespace: str, refused: RequestError
    ) -> WriteResult:
        """Write a refused batch by halves: it is too large, or one of its records is invalid."""
        if len(records) == 1:
            return WriteResult(0, [Failure(None, 0, refused.code, refused.detail)])
        half = len(records) // 2
        first = await self.write(records[:half], namespace)
        second = await self.write(records[half:], namespace)
        moved = [replace(failure, index=failure.index + half) for failure in second.failures]
        return WriteResult(
            first.written + second.written,
            [*first.failures, *moved],
            first.counts + second.counts,
        )
