"""`SearchClient`: for those who wait for each answer. `aio.py` is its twin for those who await.

What is sent and what it means is `requests.py`'s matter, how it is sent `sync_wire.py`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import IO, Any, Literal, Unpack

import httpx

from service.client import requests
from service.client import sync_streams as streams
from service.client.exporting import Destination, Whole
from service.client.importing import ImportOptions, Source, prepared
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
from service.client.sync_streams import Stream
from service.client.sync_typing import Typing, typing_session
from service.client.sync_wire import Wire
from service.client.watching import PATIENCE_S, Watching, ended_well


class SearchClient:
    """A client of one Cascade: `with SearchClient("http://127.0.0.1:8000") as client`.

    `timeout` is, in seconds, for a whole call with all its tries; of a stream, an import or an
    export it is for each silence. `retries` is how often a call is made again where that is safe.
    One client may be shared by threads. What the service or the wire fails at
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
        self._wire = Wire(Seam(url, key), timeout, retries, transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._wire.seam.url!r})"

    def __enter__(self) -> SearchClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The client is of no use after that."""
        self._wire.close()

    # Searching

    def search(
        self, text: str, *, mode: Mode = "cascading", **options: Unpack[SearchOptions]
    ) -> Answer:
        """Search by meaning, by words, or by both at once."""
        return self._wire.ask(requests.search(mode, text, options))

    def semantic(self, text: str, **options: Unpack[SearchOptions]) -> Answer:
        """Search by meaning."""
        return self._wire.ask(requests.search("semantic", text, options))

    def lexical(self, text: str, **options: Unpack[SearchOptions]) -> Answer:
        """Search by words."""
        return self._wire.ask(requests.search("lexical", text, options))

    def cascading(self, text: str, **options: Unpack[SearchOptions]) -> Answer:
        """Search by both at once: deduplicated, fused and reranked."""
        return self._wire.ask(requests.search("cascading", text, options))

    def next_page(self, answer: Answer, *, top_k: int | None = None) -> Answer | None:
        """The next page of the same ranking, or None where there is none."""
        if answer.cursor is None:
            return None
        return self._wire.ask(requests.next_page(answer, top_k))

    def pages(self, answer: Answer, *, top_k: int | None = None) -> Iterator[Answer]:
        """This page and those that follow it, each asked for when it is wanted."""
        page: Answer | None = answer
        while page is not None:
            yield page
            page = self.next_page(page, top_k=top_k)

    def stream(self, text: str, **options: Unpack[SearchOptions]) -> Stream[SearchEvent]:
        """Cascading retrieval, told while it runs; the last event has the whole answer."""
        return Stream(streams.searched(self._wire, requests.stream(text, options)))

    def typing(self) -> AbstractContextManager[Typing]:
        """A connection for searching while somebody types, of which the newest search counts."""
        return typing_session(self._wire)

    # Records

    def upsert(
        self,
        records: Iterable[Mapping[str, Any]],
        *,
        namespace: str | None = None,
        wait: Literal["visible"] | None = None,
    ) -> Written:
        """Write records, each in place of the one with its `_id`; at most 10,000 at once."""
        return self._wire.ask(requests.upsert(records, namespace, wait))

    def get(self, id: str, *, namespace: str | None = None) -> Record:
        """One record, as it was written."""
        return self._wire.ask(requests.get(id, namespace))

    def list_ids(
        self,
        *,
        prefix: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        namespace: str | None = None,
    ) -> IdPage:
        """A page of ids, in order."""
        return self._wire.ask(requests.list_ids(prefix, limit, cursor, namespace))

    def iter_ids(self, *, prefix: str | None = None, namespace: str | None = None) -> Iterator[str]:
        """All ids, in order, a page at a time."""
        cursor: str | None = ""
        while cursor is not None:
            page = self.list_ids(prefix=prefix, cursor=cursor or None, namespace=namespace)
            yield from page.ids
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
        """Delete by ids, by filter, or all of a namespace. How many, where the service knows it."""
        return self._wire.ask(requests.delete(ids, filter, all, namespace, wait))

    def stats(self) -> Stats:
        """How many records each index has, by namespace."""
        return self._wire.ask(requests.stats())

    # Imports

    def import_file(self, source: Source, **options: Unpack[ImportOptions]) -> Job:
        """Send a file, or records as they come, to be imported in the background."""
        with prepared(source, options) as call:
            return self._wire.ask(call)

    def get_import(self, id: str) -> Job:
        """How far an import has come."""
        return self._wire.ask(requests.get_import(id))

    def list_imports(
        self, *, limit: int | None = None, cursor: str | None = None, status: str | None = None
    ) -> ImportPage:
        """A page of imports, newest first."""
        return self._wire.ask(requests.list_imports(limit, cursor, status))

    def cancel_import(self, id: str) -> Job:
        """Stop an import. What it has written stays; one that has ended is answered as it is."""
        return self._wire.ask(requests.cancel_import(id))

    def watch_import(self, id: str, *, patience: float = PATIENCE_S) -> Stream[Job]:
        """An import as it goes on, up to its end, over restarts of the service too.

        `patience` is how many seconds nothing at all may be heard of it.
        """
        return Stream(streams.watched(self._wire, Watching(id, patience)))

    def wait_for_import(
        self,
        id: str,
        *,
        on_progress: Callable[[Job], object] | None = None,
        patience: float = PATIENCE_S,
    ) -> Job:
        """The import when it has succeeded; `ImportFailed` if it has not."""
        job = None
        with self.watch_import(id, patience=patience) as jobs:
            for job in jobs:
                if on_progress is not None:
                    on_progress(job)
        return ended_well(job)

    # Exports

    def export(self, **options: Unpack[ExportOptions]) -> Stream[Record]:
        """The records of a namespace as they come; `IncompleteExport` where it breaks off."""
        return Stream(streams.exported(self._wire, requests.export("ndjson", options)))

    def export_to(
        self,
        destination: str | os.PathLike[str] | IO[bytes],
        *,
        format: Literal["ndjson", "csv"] = "ndjson",
        **options: Unpack[ExportOptions],
    ) -> int:
        """The same into a file: how many bytes. At a path there is a whole export, or none."""
        call = requests.export(format, options)
        with Whole() as whole, Destination(destination) as file:
            with self._wire.opened(call) as response:
                whole.begun = True
                for data in response.iter_bytes():
                    file.write(data)
            return file.finish()

    # Health

    def healthz(self) -> None:
        """Returns if the service lives."""
        self._wire.ask(requests.healthz())

    def ready(self) -> Readiness:
        """Whether searches would be answered just now, and what each index says."""
        return self._wire.ask(requests.ready())
