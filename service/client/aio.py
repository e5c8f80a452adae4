"""`AsyncSearchClient`: for those who await. `sync.py` is its twin for those who wait.

What is sent and what it means is `requests.py`'s matter, how it is sent `async_wire.py`'s.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import IO, Any, Literal, Unpack

import httpx

from service.client import async_streams as streams
from service.client import requests
from service.client.async_streams import AsyncStream
from service.client.async_typing import AsyncTyping, typing_session
from service.client.async_wire import AsyncWire
from service.client.exporting import Destination, Whole
from service.client.importing import AsyncSource, ImportOptions, prepared
from service.client.models import (
    Answer,
    IdPage,
    ImportPage,
    Job,
    Mode,
    Readiness,
    Record,
    SearchEvent,
    Stats,
    Written,
)
from service.client.requests import ExportOptions, SearchOptions
from service.client.seam import Seam
from service.client.watching import PATIENCE_S, Watching, ended_well


class AsyncSearchClient:
    """A client of one Cascade: `async with AsyncSearchClient("http://127.0.0.1:8000") as client`.

    `timeout` is, in seconds, for a whole call with all its tries; of a stream, an import or an
    export it is for each silence. `retries` is how often a call is made again where that is safe.
    One client may be shared by the tasks of one event loop. What the service or the wire fails at
    is a `SearchClientError`.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 2,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._wire = AsyncWire(Seam(url, key), timeout, retries, transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._wire.seam.url!r})"

    async def __aenter__(self) -> AsyncSearchClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. The client is of no use after that."""
        await self._wire.close()

    # Searching

    async def search(
        self, text: str, *, mode: Mode = "cascading", **options: Unpack[SearchOptions]
    ) -> Answer:
        """Search by meaning, by words, or by both at once."""
        return await self._wire.ask(requests.search(mode, text, options))

    async def semantic(self, text: str, **options: Unpack[SearchOptions]) -> Answer:
        """Search by meaning."""
        return await self._wire.ask(requests.search("semantic", text, options))

    async def lexical(self, text: str, **options: Unpack[SearchOptions]) -> Answer:
        """Search by words."""
        return await self._wire.ask(requests.search("lexical", text, options))

    async def cascading(self, text: str, **options: Unpack[SearchOptions]) -> Answer:
        """Search by both at once: deduplicated, fused and reranked."""
        return await self._wire.ask(requests.search("cascading", text, options))

    async def next_page(self, answer: Answer, *, top_k: int | None = None) -> Answer | None:
        """The next page of the same ranking, or None where there is none."""
        if answer.cursor is None:
            return None
        return await self._wire.ask(requests.next_page(answer, top_k))

    async def pages(self, answer: Answer, *, top_k: int | None = None) -> AsyncIterator[Answer]:
        """This page and those that follow it, each asked for when it is wanted."""
        page: Answer | None = answer
        while page is not None:
            yield page
            page = await self.next_page(page, top_k=top_k)

    def stream(self, text: str, **options: Unpack[SearchOptions]) -> AsyncStream[SearchEvent]:
        """Cascading retrieval, told while it runs; the last event has the whole answer."""
        return AsyncStream(streams.searched(self._wire, requests.stream(text, options)))

    def typing(self) -> AbstractAsyncContextManager[AsyncTyping]:
        """A connection for searching while somebody types, of which the newest search counts."""
        return typing_session(self._wire)

    # Records

    async def upsert(
        self,
        records: Iterable[Mapping[str, Any]],
        *,
        namespace: str | None = None,
        wait: Literal["visible"] | None = None,
    ) -> Written:
        """Write records, each in place of the one with its `_id`; at most 10,000 at once."""
        return await self._wire.ask(requests.upsert(records, namespace, wait))

    async def get(self, id: str, *, namespace: str | None = None) -> Record:
        """One record, as it was written."""
        return await self._wire.ask(requests.get(id, namespace))

    async def list_ids(
        self,
        *,
        prefix: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        namespace: str | None = None,
    ) -> IdPage:
        """A page of ids, in order."""
        return await self._wire.ask(requests.list_ids(prefix, limit, cursor, namespace))

    async def iter_ids(
        self, *, prefix: str | None = None, namespace: str | None = None
    ) -> AsyncIterator[str]:
        """All ids, in order, a page at a time."""
        cursor: str | None = ""
        while cursor is not None:
            page = await self.list_ids(prefix=prefix, cursor=cursor or None, namespace=namespace)
            for id in page.ids:
                yield id
            cursor = page.cursor

    async def delete(
        self,
        *,
        ids: Iterable[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        all: bool = False,
        namespace: str | None = None,
        wait: Literal["visible"] | None = None,
    ) -> int | None:
        """Delete by ids, by filter, or all of a namespace. How many, where the service knows it."""
        return await self._wire.ask(requests.delete(ids, filter, all, namespace, wait))

    async def stats(self) -> Stats:
        """How many records each index has, by namespace."""
        return await self._wire.ask(requests.stats())

    # Imports

    async def import_file(self, source: AsyncSource, **options: Unpack[ImportOptions]) -> Job:
        """Send a file, or records as they come, to be imported in the background."""
        with prepared(source, options) as call:
            return await self._wire.ask(call)

    async def get_import(self, id: str) -> Job:
        """How far an import has come."""
        return await self._wire.ask(requests.get_import(id))

    async def list_imports(
        self, *, limit: int | None = None, cursor: str | None = None, status: str | None = None
    ) -> ImportPage:
        """A page of imports, newest first."""
        return await self._wire.ask(requests.list_imports(limit, cursor, status))

    async def cancel_import(self, id: str) -> Job:
        """Stop an import. What it has written stays; one that has ended is answered as it is."""
        return await self._wire.ask(requests.cancel_import(id))

    def watch_import(self, id: str, *, patience: float = PATIENCE_S) -> AsyncStream[Job]:
        """An import as it goes on, up to its end, over restarts of the service too.

        `patience` is how many seconds nothing at all may be heard of it.
        """
        return AsyncStream(streams.watched(self._wire, Watching(id, patience)))

    async def wait_for_import(
        self,
        id: str,
        *,
        on_progress: Callable[[Job], object] | None = None,
        patience: float = PATIENCE_S,
    ) -> Job:
        """The import when it has succeeded; `ImportFailed` if it has not."""
        job = None
        async with self.watch_import(id, patience=patience) as jobs:
            async for job in jobs:
                if on_progress is not None:
                    on_progress(job)
        return ended_well(job)

    # Exports

    def export(self, **options: Unpack[ExportOptions]) -> AsyncStream[Record]:
        """The records of a namespace as they come; `IncompleteExport` where it breaks off."""
        return AsyncStream(streams.exported(self._wire, requests.export("ndjson", options)))

    async def export_to(
        self,
        destination: str | os.PathLike[str] | IO[bytes],
        *,
        format: Literal["ndjson", "csv"] = "ndjson",
        **options: Unpack[ExportOptions],
    ) -> int:
        """The same into a file: how many bytes. At a path there is a whole export, or none."""
        call = requests.export(format, options)
        with Whole() as whole, Destination(destination) as file:
            async with self._wire.opened(call) as response:
                whole.begun = True
                async for data in response.aiter_bytes():
                    await asyncio.to_thread(file.write, data)
            return await asyncio.to_thread(file.finish)

    # Health

    async def healthz(self) -> None:
        """Returns if the service lives."""
        await self._wire.ask(requests.healthz())

    async def ready(self) -> Readiness:
        """Whether searches would be answered just now, and what each index says."""
        return await self._wire.ask(requests.ready())
