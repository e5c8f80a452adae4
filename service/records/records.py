"""The records behind an app: write, read, list, delete and count them, in every index at once.

Knows nothing of HTTP. A write that was begun is finished even if nobody waits for its end any more;
`close` waits for those.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.errors import (
    DeadlineExceeded,
    InvalidField,
    InvalidRequest,
    NotFound,
    RequestError,
    Unavailable,
    UpstreamRefused,
)
from service.indexes.dialect import Dialect
from service.indexes.port import AsyncIndexPort
from service.indexes.writes import IdPage, Record, Selection
from service.records.checking import Failure, check
from service.records.deleting import delete
from service.records.finishing import Finishing, Wrote
from service.records.outcomes import failure, first_error, nothing_written
from service.records.reading_all import ReadingAll, read
from service.records.sending import ATTEMPTS, Target, Write
from service.retrieval.deadline import Deadline

Show = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Written:
    """How many records every index took, and what became of the others."""

    written: int
    failures: list[Failure]


@dataclass(frozen=True, slots=True)
class IndexStats:
    """How much is in one index."""

    records: int
    dimension: int | None
    metric: str | None
    namespaces: Mapping[str, int]


class Records:
    """`targets` are the indexes by where they are, each of which gets every record.

    `show` makes searches see what was written, where the backend can be told to. `wrote` is called
    with the namespace after everything that may have changed something in it: see `Finishing`.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        text_field: str,
        at_once: int,
        show: Show | None,
        wrote: Wrote,
    ) -> None:
        self.can_show = show is not None
        self._targets = targets
        self._text_field = text_field
        self._slots = asyncio.Semaphore(at_once)
        self._show = show
        self._writes = Finishing(wrote)

    async def upsert(
        self, namespace: str, records: Sequence[Any], deadline: Deadline, *, visible: bool = False
    ) -> Written:
        """Write what can be written. Raises where not one record was."""
        work = self._upsert(namespace, records, deadline, visible)
        return await self._writes.to_the_end(namespace, work)

    async def send_once(
        self, namespace: str, records: Sequence[Any], deadline: Deadline
    ) -> tuple[Written, RequestError | None]:
        """The same with one try, for those who know themselves when to try again.

        The error is an index's, if not one record was written because of it.
        """
        work = self._send(namespace, records, deadline, attempts=1)
        return await self._writes.to_the_end(namespace, work)

    @property
    def most_at_once(self) -> int:
        """How many records every index takes in one call."""
        return min(target.dialect.max_records for target in self._targets)

    async def delete(
        self, namespace: str, selection: Selection, deadline: Deadline, *, visible: bool = False
    ) -> int | None:
        """Delete from every index; how many records that were, where the backend says it."""
        work = self._delete(namespace, selection, deadline, visible)
        return await self._writes.to_the_end(namespace, work)

    async def get(self, namespace: str, id: str, deadline: Deadline) -> Record:
        """One record, from the first index that has it."""
        for target in self._targets:
            found = await read(
                target,
                deadline,
                lambda dialect, index, left: dialect.fetch(index, namespace, [id], left),
            )
            if id in found:
                return found[id]
        raise NotFound(f"There is no record with this _id in namespace {namespace}")

    async def list_ids(
        self,
        namespace: str,
        prefix: str | None,
        limit: int | None,
        cursor: str | None,
        deadline: Deadline,
    ) -> IdPage:
        """A page of ids. Every index has the same ones, so one is asked."""
        try:
            return await read(
                self._targets[0],
                deadline,
                lambda dialect, index, left: dialect.list_ids(
                    index, namespace, prefix, limit, cursor, left
                ),
            )
        except UpstreamRefused as exc:
            if cursor is None:
                raise
            msg = "is not one that this list has given"
            raise InvalidRequest(
                f"cursor: {msg}", invalid_fields=[InvalidField(("cursor",), msg)]
            ) from exc

    def read_all(
        self, namespace: str, filter: Mapping[str, Any] | None, seconds: float
    ) -> AsyncGenerator[Sequence[Record]]:
        """Every record, or all that a filter selects, page by page; so long for each call.

        Every index has the same ones, so one is asked.
        """
        return ReadingAll(self._targets[0], namespace, seconds).pages(filter)

    async def stats(self, deadline: Deadline) -> list[IndexStats]:
        """What each index says of itself, in the order of the targets."""
        asking = [read(target, deadline, _describe) for target in self._targets]
        return list(await asyncio.gather(*asking))

    async def close(self) -> None:
        """Take nothing more, and wait for what was begun; but not for ever."""
        await self._writes.close()

    async def _upsert(
        self, namespace: str, records: Sequence[Any], deadline: Deadline, visible: bool
    ) -> Written:
        written, error = await self._send(namespace, records, deadline)
        if not written.written:
            raise nothing_written(written.failures, error)
        if visible:
            await self._make_visible(deadline)
        return written

    async def _send(
        self,
        namespace: str,
        records: Sequence[Any],
        deadline: Deadline,
        attempts: int = ATTEMPTS,
    ) -> tuple[Written, RequestError | None]:
        checked, failures = await asyncio.to_thread(check, records, self._text_field)
        write = Write(namespace, deadline, self._slots, attempts)
        errors = await asyncio.gather(*(write.to(target, checked) for target in self._targets))
        told = dict(zip((target.name for target in self._targets), errors, strict=True))
        failed = {position for each in errors for position in each}
        failures += [failure(each, told) for each in checked if each.position in failed]
        failures.sort(key=lambda failure: failure.position)
        written = len(checked) - len(failed)
        return Written(written, failures), None if written else first_error(errors)

    async def _delete(
        self, namespace: str, selection: Selection, deadline: Deadline, visible: bool
    ) -> int | None:
        count = await delete(self._targets, namespace, selection, deadline)
        if visible:
            await self._make_visible(deadline)
        return count

    async def _make_visible(self, deadline: Deadline) -> None:
        """What fails here comes after the write, which stands."""
        if self._show is None:
            return
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._show()
        except TimeoutError:
            raise DeadlineExceeded("It is written, but searches did not see it in time") from None
        except Exception as exc:
            raise Unavailable("It is written, but searches can't see it just now") from exc


async def _describe(_: Dialect, index: AsyncIndexPort, timeout: float) -> IndexStats:
    stats = await index.describe_index_stats(timeout=timeout)
    counts = {name: each.vector_count for name, each in stats.namespaces.items()}
    return IndexStats(stats.total_vector_count, stats.dimension, stats.metric, counts)
