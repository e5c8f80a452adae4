"""One write to all indexes: every batch to each of them, again where that can help.

Knows nothing of HTTP, nor of what a record has to look like. Writing a record twice is the same as
writing it once, so whatever may pass by itself is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from service.backoff import Backoff
from service.errors import (
    DeadlineExceeded,
    RequestError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTooLarge,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from service.indexes.dialect import Dialect
from service.indexes.pool import LanePool
from service.indexes.port import AsyncIndexPort
from service.indexes.reads import Reads
from service.indexes.writes import MAX_UPSERT_BYTES
from service.records.batches import halves, split
from service.records.checking import Checked
from service.retrieval.deadline import Deadline

ATTEMPTS = 4
BACKOFF = Backoff(first_s=0.25, longest_s=2.0)
PASSING = (UpstreamRateLimited, UpstreamUnavailable, UpstreamUnreachable)
MAX_HALVINGS = 64  # of refused batches in one write, to find the records that are refused
# The deadline ends a call; the client's own timeout is only the net beneath, a little later.
NET_S = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """One index that is written to."""

    dialect: Dialect
    pool: LanePool[AsyncIndexPort]
    reads: Reads[AsyncIndexPort]

    @property
    def name(self) -> str:
        return self.pool.name


Errors = dict[int, RequestError]
"""What went wrong with which record, by its place in the request."""


class Write:
    """One write. `slots` are shared with all other writes: they bound the calls in flight."""

    def __init__(
        self,
        namespace: str,
        deadline: Deadline,
        slots: asyncio.Semaphore,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._namespace = namespace
        self._deadline = deadline
        self._slots = slots
        self._attempts = attempts
        self._halvings = MAX_HALVINGS

    async def to(self, target: Target, records: Sequence[Checked]) -> Errors:
        """Send the records to one index; what is not in the answer was taken."""
        batches = split(records, target.dialect.max_records, MAX_UPSERT_BYTES)
        return _merged(await asyncio.gather(*(self._send(target, each) for each in batches)))

    async def _send(self, target: Target, batch: list[Checked]) -> Errors:
        try:
            await self._try(target, batch)
        except (UpstreamRefused, UpstreamTooLarge) as exc:
            if len(batch) > 1 and self._halvings:
                self._halvings -= 1
                return _merged([await self._send(target, half) for half in halves(batch)])
            return _all(batch, _refused(exc, target, len(batch)))
        except RequestError as exc:
            return _all(batch, exc)
        return {}

    async def _try(self, target: Target, batch: list[Checked]) -> None:
        """Send one batch, again if what went wrong may pass, until the time is up."""
        last: RequestError = DeadlineExceeded(
            f"{target.name} did not take it in time, or did not say so; send it again"
        )
        try:
            async with asyncio.timeout(self._deadline.remaining()), self._slots:
                for attempt in range(1, self._attempts + 1):
                    try:
                        return await self._call(target, batch)
                    except PASSING as exc:
                        last = exc
                    pause = (last.retry_after or 0.0) + BACKOFF.pause_s(attempt)
                    if attempt == self._attempts or pause >= self._deadline.remaining():
                        break
                    await asyncio.sleep(pause)  # in its slot: who is in trouble gets less to do
        except TimeoutError:
            pass
        raise last

    async def _call(self, target: Target, batch: list[Checked]) -> None:
        records = [each.record for each in batch]
        left = self._deadline.remaining() + NET_S
        await target.pool.call(
            lambda index: target.dialect.upsert(index, self._namespace, records, left)
        )


def _refused(exc: RequestError, target: Target, count: int) -> RequestError:
    """For the caller, who knows records and not batches."""
    whose = "this record" if count == 1 else f"one or more of {count} records, this one with them"
    large = isinstance(exc, UpstreamTooLarge)
    why = "it is too large" if large else "its text or a field is not what the index takes"
    return type(exc)(f"{target.name} refuses {whose}: {why}")


def _all(batch: Sequence[Checked], error: RequestError) -> Errors:
    return {each.position: error for each in batch}


def _merged(parts: Sequence[Errors]) -> Errors:
    return {position: error for part in parts for position, error in part.items()}
