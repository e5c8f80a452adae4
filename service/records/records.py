"""The records of an app: write, read, list, delete and count them, in every index at once.

A write that has started runs to its end even if its caller is cancelled; `close` waits for those.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any, TypeVar

from service.concurrency import DetachedTasks
from service.errors import (
    DeadlineExceeded,
    InvalidField,
    InvalidRequest,
    NotFound,
    RequestError,
    Unavailable,
    UpstreamRefused,
    UpstreamTooLarge,
)
from service.indexes.index import Index, IndexStats
from service.indexes.records import NO_COUNTS, IdPage, Record, Selection
from service.ingest.target import WriteResult
from service.records.checking import check
from service.records.delete import delete
from service.records.scan import Scan
from service.records.upsert import MAX_ATTEMPTS, Upsert, nothing_written, record_failure
from service.retrieval.deadline import Deadline

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2.0  # for writes whose callers are gone; the drain came before
CANCEL_GRACE_S = 0.5
NO_RECORD = "There is no record with this _id in namespace {namespace}"

WaitUntilVisible = Callable[[], Awaitable[None]]
OnWrite = Callable[[str], Awaitable[None]]
ResultT = TypeVar("ResultT")


class Records:
    """The records in `indexes`, each of which holds all of them.

    `wait_until_visible` waits until searches see every write; None if the backend can't tell.
    `on_write` is called with the namespace after each write, however it ended, before the caller
    gets its result; it neither fails nor takes long.
    """

    def __init__(
        self,
        indexes: Sequence[Index],
        text_field: str,
        max_concurrent_upserts: int,
        wait_until_visible: WaitUntilVisible | None,
        on_write: OnWrite,
    ) -> None:
        self.can_wait_until_visible = wait_until_visible is not None
        self._indexes = indexes
        self._text_field = text_field
        self._slots = asyncio.Semaphore(max_concurrent_upserts)
        self._wait_until_visible = wait_until_visible
        self._on_write = on_write
        self._writes = DetachedTasks(_log_unexpected)
        self._closed = False

    @property
    def max_batch(self) -> int:
        """The number of records that every index takes in one call."""
        return min(index.max_records for index in self._indexes)

    async def upsert(
        self, namespace: str, records: Sequence[Any], deadline: Deadline, *, visible: bool = False
    ) -> WriteResult:
        """Write the valid records. Raises an error if not one record was written."""

        async def write() -> WriteResult:
            result, error = await self._upsert(namespace, records, deadline)
            if not result.written:
                raise nothing_written(result.failures, error)
            if visible:
                await self._make_visible(deadline)
            return result

        return await self._run(namespace, write())

    async def upsert_once(
        self, namespace: str, records: Sequence[Any], deadline: Deadline
    ) -> WriteResult:
        """Write the valid records with one attempt, for a caller with a retry policy of its own.

        Raises an index's error if not one record was written and the error is not of the records.
        """
        result, error = await self._run(
            namespace, self._upsert(namespace, records, deadline, max_attempts=1)
        )
        if error is not None and not isinstance(error, UpstreamRefused | UpstreamTooLarge):
            raise error
        return result

    async def delete(
        self, namespace: str, selection: Selection, deadline: Deadline, *, visible: bool = False
    ) -> int | None:
        """Delete from every index; returns the number of records if the backend reports it."""

        async def write() -> int | None:
            count = await delete(self._indexes, namespace, selection, deadline)
            if visible:
                await self._make_visible(deadline)
            return count

        return await self._run(namespace, write())

    async def get(self, namespace: str, id: str, deadline: Deadline) -> Record:
        """One record, from the first index that has it."""
        for index in self._indexes:
            found = await index.fetch(namespace, [id], deadline.remaining())
            if id in found:
                return found[id]
        raise NotFound(NO_RECORD.format(namespace=namespace))

    async def list_ids(
        self,
        namespace: str,
        prefix: str | None,
        limit: int,
        cursor: str | None,
        deadline: Deadline,
        filter: Mapping[str, Any] | None = None,
    ) -> IdPage:
        """A page of ids, from one index, as every index holds the same records.

        With a filter, it has the ids with the prefix in a page of the records that match.
        """
        index = self._indexes[0]
        with _cursor_errors(cursor):
            if filter is None:
                return await index.list_ids(namespace, prefix, limit, cursor, deadline.remaining())
            page = await index.fetch_where(namespace, filter, limit, cursor, deadline.remaining())
        ids = [str(each["_id"]) for each in page.records]
        return IdPage([id for id in ids if id.startswith(prefix or "")], page.cursor)

    def scan(
        self, namespace: str, filter: Mapping[str, Any] | None, timeout_s: float
    ) -> AsyncGenerator[Sequence[Record]]:
        """All records, or those that match a filter, page by page, from one index.

        `timeout_s` is for each call to the index.
        """
        return Scan(self._indexes[0], namespace, timeout_s).pages(filter)

    async def stats(self, deadline: Deadline) -> list[IndexStats]:
        """The statistics of each index, in the order of the indexes."""
        return await asyncio.gather(*(index.stats(deadline.remaining()) for index in self._indexes))

    async def close(self) -> None:
        """Reject new writes, and wait for those that have started, up to a limit."""
        self._closed = True
        running = await self._writes.join(CLOSE_TIMEOUT_S)
        if running:
            logger.error("%d writes did not end in time and were cancelled", len(running))
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=CANCEL_GRACE_S)

    async def _run(self, namespace: str, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a write to its end, even if the caller is cancelled."""
        if self._closed:
            work.close()
            raise Unavailable("The service is stopping and accepts no more writes")

        async def write() -> ResultT:
            try:
                return await work
            finally:
                await self._on_write(namespace)

        return await self._writes.run(write())

    async def _upsert(
        self,
        namespace: str,
        records: Sequence[Any],
        deadline: Deadline,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> tuple[WriteResult, RequestError | None]:
        checked, failures = await asyncio.to_thread(check, records, self._text_field)
        upsert = Upsert(namespace, deadline, self._slots, max_attempts)
        valid = list(checked.values())
        results = await asyncio.gather(*(upsert.to(index, valid) for index in self._indexes))
        errors = [each for each, _ in results]
        by_index = dict(zip((index.name for index in self._indexes), errors, strict=True))
        failed = {id for each in errors for id in each}
        failures += [
            record_failure(position, each.id, by_index)
            for position, each in checked.items()
            if each.id in failed
        ]
        failures.sort(key=lambda failure: failure.index)
        written = len(checked) - len(failed)
        first_error = next((error for each in errors for error in each.values()), None)
        counts = sum((each for _, each in results), NO_COUNTS)  # only a single index reports them
        return WriteResult(written, failures, counts), None if written else first_error

    async def _make_visible(self, deadline: Deadline) -> None:
        """Wait until searches see the write. If that fails, the write stands."""
        if self._wait_until_visible is None:
            return
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._wait_until_visible()
        except TimeoutError:
            raise DeadlineExceeded("It is written, but searches did not see it in time") from None
        except Exception as exc:
            raise Unavailable("It is written, but searches can't see it just now") from exc


@contextlib.contextmanager
def _cursor_errors(cursor: str | None) -> Iterator[None]:
    """An index refuses a page only for its cursor."""
    try:
        yield
    except UpstreamRefused as exc:
        if cursor is None:
            raise
        msg = "is not one that this list has returned"
        raise InvalidRequest(
            f"cursor: {msg}", invalid_fields=[InvalidField(("cursor",), msg)]
        ) from exc


class ImportTarget:
    """The records as the target of an import, which has a retry policy of its own.

    `records` returns the open records, and raises an error while they are closed.
    """

    def __init__(self, records: Callable[[], Records], text_field: str, timeout_s: float) -> None:
        self.text_field = text_field
        self._records = records
        self._timeout_s = timeout_s

    @property
    def batch_size(self) -> int:
        return self._records().max_batch

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> WriteResult:
        return await self._records().upsert_once(namespace, records, Deadline(self._timeout_s))


def _log_unexpected(error: BaseException) -> None:
    """The caller, who may be gone, expects no other error than a `RequestError`."""
    if not isinstance(error, RequestError):
        logger.error("a write failed unexpectedly", exc_info=error)
