"""One upsert of records to all indexes: cut into batches, retried, and split if refused.

Writing a record twice has the same effect as writing it once, so transient errors are retried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from service.backoff import Backoff
from service.errors import (
    DeadlineExceeded,
    InvalidField,
    InvalidRequest,
    RequestError,
    TooManyFields,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTooLarge,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from service.indexes.index import Index
from service.indexes.limits import MAX_UPSERT_BYTES
from service.indexes.records import NO_COUNTS, EncodedRecord, WriteCounts
from service.ingest.target import Failure
from service.retrieval.deadline import Deadline

MAX_ATTEMPTS = 4
BACKOFF = Backoff(first_s=0.25, longest_s=2.0)
TRANSIENT = (UpstreamRateLimited, UpstreamUnavailable, UpstreamUnreachable)
MAX_SPLITS = 64  # of refused batches in one upsert, to find the records that are refused

NET_S = 1.0  # the deadline ends a call; its own timeout is only a net beneath

MAX_LISTED = 20  # invalid records in the error of a whole upsert

Errors = dict[str, RequestError]
"""The errors of records, by their ids."""


class Upsert:
    """One upsert. `slots` bounds the calls in flight; all upserts share it."""

    def __init__(
        self,
        namespace: str,
        deadline: Deadline,
        slots: asyncio.Semaphore,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        self._namespace = namespace
        self._deadline = deadline
        self._slots = slots
        self._max_attempts = max_attempts
        self._splits_left = MAX_SPLITS

    async def to(
        self, index: Index, records: Sequence[EncodedRecord]
    ) -> tuple[Errors, WriteCounts]:
        """Write the records to one index; returns the errors of those that it did not take."""
        batches = cut_batches(records, index.max_records, MAX_UPSERT_BYTES)
        return _merge(await asyncio.gather(*(self._write(index, batch) for batch in batches)))

    async def _write(self, index: Index, batch: list[EncodedRecord]) -> tuple[Errors, WriteCounts]:
        """Write a batch; one that is refused is split in halves, down to the refused records."""
        try:
            return {}, await self._attempt(index, batch)
        except (UpstreamRefused, UpstreamTooLarge) as exc:
            if len(batch) > 1 and self._splits_left:
                self._splits_left -= 1
                middle = len(batch) // 2
                halves = (batch[:middle], batch[middle:])
                return _merge([await self._write(index, half) for half in halves])
            return _for_all(batch, _refusal(exc, index, len(batch))), NO_COUNTS
        except RequestError as exc:
            return _for_all(batch, exc), NO_COUNTS

    async def _attempt(self, index: Index, batch: list[EncodedRecord]) -> WriteCounts:
        """Write a batch, retrying transient errors until the deadline."""
        last: RequestError = DeadlineExceeded(
            f"The {index.name} index did not confirm the write in time; send it again"
        )
        try:
            async with asyncio.timeout(self._deadline.remaining()), self._slots:
                for attempt in range(1, self._max_attempts + 1):
                    try:
                        return await index.upsert(
                            self._namespace, batch, self._deadline.remaining() + NET_S
                        )
                    except TRANSIENT as exc:
                        last = exc
                    pause_s = (last.retry_after or 0.0) + BACKOFF.pause_s(attempt)
                    if attempt == self._max_attempts or pause_s >= self._deadline.remaining():
                        break
                    await asyncio.sleep(pause_s)  # in its slot: an index in trouble gets less load
        except TimeoutError:
            pass
        raise last


def cut_batches(
    records: Iterable[EncodedRecord], max_records: int, max_bytes: int
) -> list[list[EncodedRecord]]:
    """Batches in the given order, each of at most so many records and bytes.

    A record that is too large by itself is a batch of its own, for the index to refuse.
    """
    batches: list[list[EncodedRecord]] = []
    size = 0
    for record in records:
        full = batches and (len(batches[-1]) == max_records or size + record.size > max_bytes)
        if full or not batches:
            batches.append([])
            size = 0
        batches[-1].append(record)
        size += record.size
    return batches


def record_failure(position: int, id: str, errors_by_index: Mapping[str, Errors]) -> Failure:
    """The errors of one record from each index, and whether another index took it."""
    errors = {name: each[id] for name, each in errors_by_index.items() if id in each}
    details = list(dict.fromkeys(error.detail for error in errors.values()))
    if took := [name for name in errors_by_index if name not in errors]:
        details.append(f"the {took[0]} index took it, so some searches find it; send it again")
    first = next(iter(errors.values()))
    return Failure(id, position, first.code, "; ".join(details))


def nothing_written(failures: Sequence[Failure], error: RequestError | None) -> RequestError:
    """The error of an upsert that wrote no record: the index's, or that no record is valid."""
    invalid = [InvalidField((each.index,), each.detail) for each in failures[:MAX_LISTED]]
    if not invalid:
        return InvalidRequest("There is no record in this request")
    if error is None:
        sentence = f"No record was written. Record {invalid[0].loc[0]}: {invalid[0].msg}"
        return InvalidRequest(sentence, invalid_fields=invalid)
    detail = f"No record was written. {error.detail}"
    return type(error)(detail, invalid_fields=invalid, retry_after=error.retry_after)


def _refusal(exc: RequestError, index: Index, count: int) -> RequestError:
    """The error for the caller, who knows records and not batches."""
    if isinstance(exc, TooManyFields):
        return exc
    which = "this record" if count == 1 else f"one or more of {count} records, this one with them"
    too_large = isinstance(exc, UpstreamTooLarge)
    why = "it is too large" if too_large else "its text or a field is not what the index takes"
    return type(exc)(f"the {index.name} index refuses {which}: {why}")


def _for_all(batch: Sequence[EncodedRecord], error: RequestError) -> Errors:
    return {each.id: error for each in batch}


def _merge(parts: Sequence[tuple[Errors, WriteCounts]]) -> tuple[Errors, WriteCounts]:
    errors = {id: error for part, _ in parts for id, error in part.items()}
    return errors, sum((counts for _, counts in parts), NO_COUNTS)
