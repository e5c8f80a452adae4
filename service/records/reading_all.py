"""Every record of a namespace, or every one that a filter selects, a page at a time.

Knows nothing of what becomes of them. While a page is used, the next one is being read, and no more
than that is held. Without a filter they come in the order of their ids, so a record that is there
all the time comes once, whatever is written meanwhile. With one it is the index that pages; the
embedded one keeps to the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from service.backoff import Backoff
from service.errors import DeadlineExceeded, Unavailable, UpstreamGarbled
from service.indexes.dialect import Dialect
from service.indexes.port import AsyncIndexPort
from service.indexes.writes import MAX_PAGE, IdPage, Record, RecordPage
from service.records.sending import NET_S, Target
from service.retrieval.deadline import Deadline

PASSING = (Unavailable, DeadlineExceeded)
TRIES = 5
BACKOFF = Backoff(first_s=0.3, longest_s=10.0)

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")
Ask = Callable[[Dialect, AsyncIndexPort, float], Awaitable[AnswerT]]


class ReadingAll:
    """One pass over the records of one index; every call has so many seconds."""

    def __init__(self, target: Target, namespace: str, seconds: float) -> None:
        self._target = target
        self._namespace = namespace
        self._seconds = seconds
        self._begun = False

    async def pages(self, filter: Mapping[str, Any] | None) -> AsyncGenerator[Sequence[Record]]:
        """The records, at most MAX_PAGE at once; whoever stops before the end has to close it."""
        found = self._selected(filter) if filter else self._fetched()
        async with contextlib.aclosing(ahead(found)) as pages:
            async for page in pages:
                if page:
                    yield page

    async def _selected(self, filter: Mapping[str, Any]) -> AsyncGenerator[Sequence[Record]]:
        cursor: str | None = None
        while True:
            page = await self._page_where(filter, cursor)
            yield page.records
            if (cursor := _next(cursor, page.cursor)) is None:
                return

    async def _fetched(self) -> AsyncGenerator[Sequence[Record]]:
        """What was deleted since it was listed is left out."""
        async with contextlib.aclosing(ahead(self._ids())) as pages:
            async for ids in pages:
                found = await self._by_id(ids)
                yield [found[id] for id in ids if id in found]

    async def _ids(self) -> AsyncGenerator[Sequence[str]]:
        cursor: str | None = None
        while True:
            page = await self._page_of_ids(cursor)
            yield page.ids
            if (cursor := _next(cursor, page.cursor)) is None:
                return

    async def _by_id(self, ids: Sequence[str]) -> Mapping[str, Record]:
        if not ids:
            return {}
        return await self._read(
            lambda dialect, index, left: dialect.fetch(index, self._namespace, ids, left)
        )

    async def _page_of_ids(self, cursor: str | None) -> IdPage:
        return await self._read(
            lambda dialect, index, left: dialect.list_ids(
                index, self._namespace, None, MAX_PAGE, cursor, left
            )
        )

    async def _page_where(self, filter: Mapping[str, Any], cursor: str | None) -> RecordPage:
        return await self._read(
            lambda dialect, index, left: dialect.fetch_where(
                index, self._namespace, filter, MAX_PAGE, cursor, left
            )
        )

    async def _read(self, ask: Ask[AnswerT]) -> AnswerT:
        """Once it has begun, what may pass by itself is waited for: a whole export hangs on it."""
        tried = 1
        while True:
            try:
                answer = await read(self._target, Deadline(self._seconds), ask)
            except PASSING as exc:
                if not self._begun or tried == TRIES:
                    raise
                asked_s = min(exc.retry_after or 0.0, BACKOFF.longest_s)
                await asyncio.sleep(max(BACKOFF.pause_s(tried), asked_s))
                tried += 1
            else:
                self._begun = True
                return answer


async def read(target: Target, deadline: Deadline, ask: Ask[AnswerT]) -> AnswerT:
    """Ask one index in its dialect; `ask` is told for how long its call may take."""
    asked = await target.reads.call(
        lambda index: ask(target.dialect, index, deadline.remaining() + NET_S),
        deadline.remaining(),
    )
    return asked.value


async def ahead(items: AsyncGenerator[ItemT]) -> AsyncGenerator[ItemT]:
    """The same items; the next one is on its way while one is used."""
    async with contextlib.aclosing(items):
        coming = asyncio.create_task(_next_of(items))
        try:
            while got := await coming:
                coming = asyncio.create_task(_next_of(items))
                yield got[0]
        finally:
            coming.cancel()
            await asyncio.wait([coming])
            if not coming.cancelled():
                coming.exception()  # nobody is left who wants to know


async def _next_of(items: AsyncIterator[ItemT]) -> tuple[ItemT] | None:
    async for item in items:
        return (item,)
    return None


def _next(before: str | None, cursor: str | None) -> str | None:
    if cursor is not None and cursor == before:
        raise UpstreamGarbled("The list of records leads nowhere: a page names itself as the next")
    return cursor
