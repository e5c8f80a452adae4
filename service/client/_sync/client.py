# Generated from service/client/_async/client.py by `make generated`; do not edit.
"""`SearchClient`: each method builds a `Call` and sends it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import IO, Any, Literal, Unpack

import httpx

from service.client import endpoints, sync_io
from service.client._sync import streams
from service.client._sync.streams import Stream
from service.client._sync.transport import Transport
from service.client._sync.typing import Typing, open_typing
from service.client.endpoints import ExportOptions, KeyOptions, SearchOptions
from service.client.export_file import ExportFile, incomplete_on_failure
from service.client.import_upload import ImportOptions, Source, import_call
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


class SearchClient:
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._transport = Transport(url, key, timeout, retries, transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._transport.url!r})"

    def __enter__(self) -> SearchClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The client can't be used any more."""
        self._transport.close()

    # Search

    def search(
        self, text: str, *, mode: Mode = "cascading", **options: Unpack[SearchOptions]
    ) -> Answer:
        """Search by meaning, by words, or by both at once."""
        return self._transport.request(endpoints.search(mode, text, options))

    def semantic(self, text: str, **options: Unpack[SearchOptions]) -> Answer:
        """Search by meaning."""
        return self._transport.request(endpoints.search("semantic", text, options))

    def lexical(self, text: str, **options: Unpack[SearchOptions]) -> Answer:
        """Search by words."""
        return self._transport.request(endpoints.search("lexical", text, options))

    def cascading(self, text: str, **options: Unpack[SearchOptions]) -> Answer:
        """Search by both: the results are deduplicated, fused and reranked."""
        return self._transport.request(endpoints.search("cascading", text, options))

    def next_page(self, answer: Answer, *, top_k: int | None = None) -> Answer | None:
        """The next page of the same ranking, or None after the last one."""
        if answer.cursor is None:
            return None
        return self._transport.request(endpoints.next_page(answer, top_k))

    def pages(self, answer: Answer, *, top_k: int | None = None) -> Iterator[Answer]:
        """This page and the following ones; each is requested when the loop reaches it."""
        page: Answer | None = answer
        while page is not None:
            yield page
            page = self.next_page(page, top_k=top_k)

    def stream(self, text: str, **options: Unpack[SearchOptions]) -> Stream[SearchEvent]:
        """Cascading retrieval, one event per stage; the last event has the whole answer."""
        return Stream(streams.search_events(self._transport, endpoints.stream(text, options)))

    def typing(self) -> AbstractContextManager[Typing]:
        """A WebSocket for search as you type; a search replaces the one before."""
        return open_typing(self._transport)

    # Records

    def upsert(
        self,
        records: Iterable[Mapping[str, Any]],
        *,
        namespace: str | None = None,
        wait: Literal["visible"] | None = None,
    ) -> Written:
        """Write at most 10,000 records. A record replaces the one with the same `_id`."""
        return self._transport.request(endpoints.upsert(records, namespace, wait))

    def get(self, id: str, *, namespace: str | None = None) -> Record:
        """Fetch one record."""
        return self._transport.request(endpoints.get(id, namespace))

    def list_ids(
        self,
        *,
        prefix: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        namespace: str | None = None,
    ) -> IdPage:
        """A page of ids, in order."""
        return self._transport.request(endpoints.list_ids(prefix, limit, cursor, namespace))

    def iter_ids(self, *, prefix: str | None = None, namespace: str | None = None) -> Iterator[str]:
        """All ids, in order, requested page by page."""
        cursor: str | None = ""
        while cursor is not None:
            page = self.list_ids(prefix=prefix, cursor=cursor or None, namespace=namespace)
            for id in page.ids:
                yield id
            cursor = page.cursor

    def delete(
        self,
        *,
        ids: Iterable[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        all: bool = False,
        namespace: str | None = None,
        wait: Literal["visible"] | None = None,
    ) -> int | None:
        """Delete records by ids, by filter, or all. Returns their number if it is known."""
        return self._transport.request(endpoints.delete(ids, filter, all, namespace, wait))

    def stats(self) -> Stats:
        """The number of records in each index and namespace."""
        return self._transport.request(endpoints.stats())

    def namespaces(self) -> dict[str, NamespaceStats]:
        """The number of records in each namespace."""
        return self._transport.request(endpoints.namespaces())

    # Imports

    def import_file(self, source: Source, **options: Unpack[ImportOptions]) -> Job:
        """Upload a file or an iterable of records; the service imports it in the background."""
        with import_call(source, options) as call:
            return self._transport.request(call)

    def get_import(self, id: str) -> Job:
        """The state of an import."""
        return self._transport.request(endpoints.get_import(id))

    def list_imports(
        self, *, limit: int | None = None, cursor: str | None = None, status: str | None = None
    ) -> ImportPage:
        """A page of imports, newest first."""
        return self._transport.request(endpoints.list_imports(limit, cursor, status))

    def cancel_import(self, id: str) -> Job:
        """Cancel an import, unless it has ended. The records that it has written stay."""
        return self._transport.request(endpoints.cancel_import(id))

    def watch_import(self, id: str, *, patience: float = PATIENCE_S) -> Stream[Job]:
        """The states of an import until it has ended, also over restarts of the service.

        `patience` is the longest time in seconds without any event.
        """
        return Stream(streams.import_states(self._transport, ImportWatch(id, patience)))

    def wait_for_import(
        self,
        id: str,
        *,
        on_progress: Callable[[Job], object] | None = None,
        patience: float = PATIENCE_S,
    ) -> Job:
        """Wait until an import has ended. Raises `ImportFailed` unless it succeeded."""
        job = None
        with self.watch_import(id, patience=patience) as jobs:
            for job in jobs:
                if on_progress is not None:
                    on_progress(job)
        return check_succeeded(job)

    # Exports

    def export(self, **options: Unpack[ExportOptions]) -> Stream[Record]:
        """The records of a namespace. Raises `IncompleteExport` if the export breaks off."""
        return Stream(
            streams.exported_records(self._transport, endpoints.export("ndjson", options))
        )

    def export_to(
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
            with self._transport.stream(call) as response:
                with incomplete_on_failure(), self._transport.errors.map_exceptions():
                    for data in response.iter_bytes():
                        sync_io.run_blocking(file.write, data)
            return sync_io.run_blocking(file.finish)

    # Keys

    def create_key(
        self, name: str, actions: Sequence[str], **options: Unpack[KeyOptions]
    ) -> ApiKey:
        """Create a key with at most the rights of this client's. Its `key` is shown only now."""
        return self._transport.request(endpoints.create_key(name, actions, options))

    def keys(self) -> tuple[ApiKey, ...]:
        """The keys that this client's key could create, without their secrets."""
        return self._transport.request(endpoints.keys())

    def revoke_key(self, id: str) -> ApiKey:
        """Revoke a key. Every process of the service refuses it within two seconds."""
        return self._transport.request(endpoints.revoke_key(id))

    def rotate_key(self, id: str, *, grace_s: int = 0) -> ApiKey:
        """Give a key another secret; the one before it stays valid for `grace_s` seconds."""
        return self._transport.request(endpoints.rotate_key(id, grace_s))

    # Health

    def healthz(self) -> None:
        """Check that the service runs."""
        self._transport.request(endpoints.healthz())

    def ready(self) -> Readiness:
        """Whether the service can answer searches, with the state of each index."""
        return self._transport.request(endpoints.ready())
