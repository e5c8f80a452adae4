"""`AsyncSearchClient`: each method builds a `Call` and sends it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import IO, Any, Literal, Unpack

import httpx

from service.client import async_io, endpoints
from service.client._async import streams
from service.client._async.streams import AsyncStream
from service.client._async.transport import AsyncTransport
from service.client._async.typing import AsyncTyping, open_typing
from service.client.endpoints import ExportOptions, KeyOptions, SearchOptions
from service.client.export_file import ExportFile, incomplete_on_failure
from service.client.import_upload import AsyncSource, ImportOptions, import_call
from service.client.import_watch import PATIENCE_S, ImportWatch, check_succeeded
from service.client.models import (
    Answer,
    ApiKey,
    IdPage,
    ImportPage,
    Job,
    Mode,
    NamespaceStats,
    Readiness,
    Record,
    SearchEvent,
    Stats,
    Written,
)


class AsyncSearchClient:
    """A client of one service. Use it as a context manager, or close it.

    `timeout` in seconds bounds a whole call with its retries; in a stream, an import or an export
    it bounds each read. `retries` is the number of further attempts where they are safe. Tasks of
    one event loop, or threads, may share a client. Every failure of the service or the connection
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
        self._transport = AsyncTransport(url, key, timeout, retries, transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._transport.url!r})"

    async def __aenter__(self) -> AsyncSearchClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. The client can't be used any more."""
        await self._transport.close()

    # Search

    async def search(
        self, text: str, *, mode: Mode = "cascading", **options: Unpack[SearchOptions]
    ) -> Answer:
        """Search by meaning, by words, or by both at once."""
        return await self._transport.request(endpoints.search(mode, text, options))

    async def semantic(self, text: str, **options: Unpack[SearchOptions]) -> Answer:
        """Search by meaning."""
        return await self._transport.request(endpoints.search("semantic", text, options))

    async def lexical(self, text: str, **options: Unpack[SearchOptions]) -> Answer:
        """Search by words."""
        return await self._transport.request(endpoints.search("lexical", text, options))

    async def cascading(self, text: str, **options: Unpack[SearchOptions]) -> Answer:
        """Search by both: the results are deduplicated, fused and reranked."""
        return await self._transport.request(endpoints.search("cascading", text, options))

    async def next_page(self, answer: Answer, *, top_k: int | None = None) -> Answer | None:
        """The next page of the same ranking, or None after the last one."""
        if answer.cursor is None:
            return None
        return await self._transport.request(endpoints.next_page(answer, top_k))

    async def pages(self, answer: Answer, *, top_k: int | None = None) -> AsyncIterator[Answer]:
        """This page and the following ones; each is requested when the loop reaches it."""
        page: Answer | None = answer
        while page is not None:
            yield page
            page = await self.next_page(page, top_k=top_k)

    def stream(self, text: str, **options: Unpack[SearchOptions]) -> AsyncStream[SearchEvent]:
        """Cascading retrieval, one event per stage; the last event has the whole answer."""
        return AsyncStream(streams.search_events(self._transport, endpoints.stream(text, options)))

    def typing(self) -> AbstractAsyncContextManager[AsyncTyping]:
        """A WebSocket for search as you type; a search replaces the one before."""
        return open_typing(self._transport)

    # Records

    async def upsert(
        self,
        records: Iterable[Mapping[str, Any]],
        *,
        namespace: str | None = None,
        wait: Literal["visible"] | None = None,
    ) -> Written:
        """Write at most 10,000 records. A record replaces the one with the same `_id`."""
        return await self._transport.request(endpoints.upsert(records, namespace, wait))

    async def get(self, id: str, *, namespace: str | None = None) -> Record:
        """Fetch one record."""
        return await self._transport.request(endpoints.get(id, namespace))

    async def list_ids(
        self,
        *,
        prefix: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        namespace: str | None = None,
    ) -> IdPage:
        """A page of ids, in order."""
        return await self._transport.request(endpoints.list_ids(prefix, limit, cursor, namespace))

    async def iter_ids(
        self, *, prefix: str | None = None, namespace: str | None = None
    ) -> AsyncIterator[str]:
        """All ids, in order, requested page by page."""
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
        """Delete records by ids, by filter, or all. Returns their number if it is known."""
        return await self._transport.request(endpoints.delete(ids, filter, all, namespace, wait))

    async def stats(self) -> Stats:
        """The number of records in each index and namespace."""
        return await self._transport.request(endpoints.stats())

    async def namespaces(self) -> dict[str, NamespaceStats]:
        """The number of records in each namespace."""
        return await self._transport.request(endpoints.namespaces())

    # Imports

    async def import_file(self, source: AsyncSource, **options: Unpack[ImportOptions]) -> Job:
        """Upload a file or an iterable of records; the service imports it in the background."""
        with import_call(source, options) as call:
            return await self._transport.request(call)

    async def get_import(self, id: str) -> Job:
        """The state of an import."""
        return await self._transport.request(endpoints.get_import(id))

    async def list_imports(
        self, *, limit: int | None = None, cursor: str | None = None, status: str | None = None
    ) -> ImportPage:
        """A page of imports, newest first."""
        return await self._transport.request(endpoints.list_imports(limit, cursor, status))

    async def cancel_import(self, id: str) -> Job:
        """Cancel an import, unless it has ended. The records that it has written stay."""
        return await self._transport.request(endpoints.cancel_import(id))

    def watch_import(self, id: str, *, patience: float = PATIENCE_S) -> AsyncStream[Job]:
        """The states of an import until it has ended, also over restarts of the service.

        `patience` is the longest time in seconds without any event.
        """
        return AsyncStream(streams.import_states(self._transport, ImportWatch(id, patience)))

    async def wait_for_import(
        self,
        id: str,
        *,
        on_progress: Callable[[Job], object] | None = None,
        patience: float = PATIENCE_S,
    ) -> Job:
        """Wait until an import has ended. Raises `ImportFailed` unless it succeeded."""
        job = None
        async with self.watch_import(id, patience=patience) as jobs:
            async for job in jobs:
                if on_progress is not None:
                    on_progress(job)
        return check_succeeded(job)

    # Exports

    def export(self, **options: Unpack[ExportOptions]) -> AsyncStream[Record]:
        """The records of a namespace. Raises `IncompleteExport` if the export breaks off."""
        return AsyncStream(
            streams.exported_records(self._transport, endpoints.export("ndjson", options))
        )

    async def export_to(
        self,
        destination: str | os.PathLike[str] | IO[bytes],
        *,
        format: Literal["ndjson", "csv"] = "ndjson",
        csv_formulas: Literal["keep", "escape"] | None = None,
        **options: Unpack[ExportOptions],
    ) -> int:
        """Export into a file; returns its size. A file at a path is replaced only when complete.

        A CSV that people open in a spreadsheet should have `csv_formulas="escape"`.
        """
        call = endpoints.export(format, options, csv_formulas)
        with ExportFile(destination) as file:
            async with self._transport.stream(call) as response:
                with incomplete_on_failure(), self._transport.errors.map_exceptions():
                    async for data in response.aiter_bytes():
                        await async_io.run_blocking(file.write, data)
            return await async_io.run_blocking(file.finish)

    # Keys

    async def create_key(
        self, name: str, actions: Sequence[str], **options: Unpack[KeyOptions]
    ) -> ApiKey:
        """Create a key with at most the rights of this client's. Its `key` is shown only now."""
        return await self._transport.request(endpoints.create_key(name, actions, options))

    async def keys(self) -> tuple[ApiKey, ...]:
        """The keys that this client's key could create, without their secrets."""
        return await self._transport.request(endpoints.keys())

    async def revoke_key(self, id: str) -> ApiKey:
        """Revoke a key. Every process of the service refuses it within two seconds."""
        return await self._transport.request(endpoints.revoke_key(id))

    async def rotate_key(self, id: str, *, grace_s: int = 0) -> ApiKey:
        """Give a key another secret; the one before it stays valid for `grace_s` seconds."""
        return await self._transport.request(endpoints.rotate_key(id, grace_s))

    # Health

    async def healthz(self) -> None:
        """Check that the service runs."""
        await self._transport.request(endpoints.healthz())

    async def ready(self) -> Readiness:
        """Whether the service can answer searches, with the state of each index."""
        return await self._transport.request(endpoints.ready())
