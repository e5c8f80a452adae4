"""All records of a namespace, or those that match a filter, a page at a time.

The next page is read while one is used, and no further ahead. Without a filter the records come in
the order of their ids, so a record that exists all the time comes exactly once, whatever is
written meanwhile. With a filter the index pages; the embedded one guarantees the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from service.backoff import Backoff
from service.errors import DeadlineExceeded, Unavailable, UpstreamGarbled
from service.indexes.index import Index
from service.indexes.limits import MAX_PAGE
from service.indexes.records import Record

TRANSIENT = (Unavailable, DeadlineExceeded)
MAX_ATTEMPTS = 5
BACKOFF = Backoff(first_s=0.3, longest_s=10.0)

ItemT = TypeVar("ItemT")
Arguments = ParamSpec("Arguments")


class Scan:
    """One pass over the records of an index, with a timeout for each call."""

    def __init__(self, index: Index, namespace: str, timeout_s: float) -> None:
        self._index = index
        self._namespace = namespace
        self._timeout_s = timeout_s
        self._started = False

    async def pages(self, filter: Mapping[str, Any] | None) -> AsyncGenerator[Sequence[Record]]:
        """Pages of at most MAX_PAGE records. A caller that stops early has to close it."""
        found = self._matching(filter) if filter else self._all()
        async with contextlib.aclosing(read_ahead(found)) as pages:
            async for page in pages:
                if page:
                    yield page

    async def _matching(self, filter: Mapping[str, Any]) -> AsyncGenerator[Sequence[Record]]:
        cursor: str | None = None
        while True:
            page = await self._read(
                self._index.fetch_where, self._namespace, filter, MAX_PAGE, cursor, self._timeout_s
            )
            yield page.records
            if (cursor := _next_cursor(cursor, page.cursor)) is None:
                return

    async def _all(self) -> AsyncGenerator[Sequence[Record]]:
        """Records by pages of ids; a record that is deleted in between is left out."""
        async with contextlib.aclosing(read_ahead(self._ids())) as pages:
            async for ids in pages:
                if ids:
                    found = await self._read(
                        self._index.fetch, self._namespace, ids, self._timeout_s
                    )
                    yield [found[id] for id in ids if id in found]

    async def _ids(self) -> AsyncGenerator[Sequence[str]]:
        cursor: str | None = None
        while True:
            page = await self._read(
                self._index.list_ids, self._namespace, None, MAX_PAGE, cursor, self._timeout_s
            )
            yield page.ids
            if (cursor := _next_cursor(cursor, page.cursor)) is None:
                return

    async def _read(
        self,
        call: Callable[Arguments, Awaitable[ItemT]],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> ItemT:
        """Call, and retry transient errors once the scan has started: an export depends on it."""
        attempt = 1
        while True:
            try:
                result = await call(*args, **kwargs)
            except TRANSIENT as exc:
                if not self._started or attempt == MAX_ATTEMPTS:
                    raise
                asked_s = min(exc.retry_after or 0.0, BACKOFF.longest_s)
                await asyncio.sleep(max(BACKOFF.pause_s(attempt), asked_s))
                attempt += 1
            else:
                self._started = True
                return result


async def read_ahead(items: AsyncGenerator[ItemT]) -> AsyncGenerator[ItemT]:
    """The same items; the next one is read while one is used."""
    async with contextlib.aclosing(items):
        pending = asyncio.create_task(_next_item(items))
        try:
            while item := await pending:
                pending = asyncio.create_task(_next_item(items))
                yield item[0]
        finally:
            pending.cancel()
            await asyncio.wait([pending])
            if not pending.cancelled():
                pending.exception()  # retrieved, as no caller is left to receive it


async def _next_item(items: AsyncIterator[ItemT]) -> tuple[ItemT] | None:
    async for item in items:
        return (item,)
    return None


def _next_cursor(current: str | None, following: str | None) -> str | None:
    if following is not None and following == current:
        raise UpstreamGarbled("The list of records does not end: a page names itself as the next")
    return following
