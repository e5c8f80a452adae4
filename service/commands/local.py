"""The app's own backend, opened in this process: no server, no HTTP.

The same validation, search and answer as behind the API. The one piece that goes past `Backend` is
`_Writer`, which is to be replaced by the backend's own write side.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast

import orjson
from pydantic import ValidationError

from service.backend import Backend
from service.commands.interrupt import Interrupt
from service.errors import CommandFailed, EmptyQuery, InvalidRequest, StartupFailed
from service.indexes.registry import Index
from service.ingest.target import Written
from service.retrieval.deadline import Deadline
from service.retrieval.query import Mode
from service.settings import Settings
from service.sources import sources_for
from service.web.schemas import EMPTY_QUERY, SearchRequest
from service.web.search import PATHS
from service.web.writing import answer

BATCH_SIZES = {"pinecone": 96, "embedded": 512}


class Local:
    """Loads into and searches the backend that the settings name."""

    def __init__(self, settings: Settings, interrupt: Interrupt) -> None:
        self.text_field = settings.pinecone_text_field
        self.batch_size = BATCH_SIZES[settings.backend]
        self._settings = settings
        self._interrupt = interrupt

    @contextlib.asynccontextmanager
    async def searching(self) -> AsyncIterator[Searching]:
        """Open for searches."""
        backend = Backend(sources_for(self._settings))
        async with contextlib.AsyncExitStack() as stack:
            with _way_out_told(), self._interrupt.later():
                await stack.enter_async_context(backend.opened())
            yield Searching(backend, self._settings)

    @contextlib.asynccontextmanager
    async def loading(self) -> AsyncIterator[_Writer]:
        """Open for records."""
        if self._settings.backend == "pinecone":
            raise CommandFailed("Loading into Pinecone goes through a running service: give --url")
        sources = sources_for(self._settings.model_copy(update={"load_samples": False}))
        async with contextlib.AsyncExitStack() as stack:
            with _way_out_told(), self._interrupt.later():
                opened = await stack.enter_async_context(sources.opened())
            yield _Writer(self, opened.dense, self._settings.pinecone_namespace)


class _Writer:
    """Writes through the embedded index's documents dialect."""

    def __init__(self, local: Local, index: Index, namespace: str) -> None:
        self.text_field = local.text_field
        self.batch_size = local.batch_size
        self._index = index
        self._namespace = namespace

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> Written:
        async def write(index: Any) -> int:
            wanted = namespace or self._namespace
            done = await index.documents.upsert(namespace=wanted, documents=records)
            return cast("int", done.upserted_count)

        return Written(await self._index.pool.call(write))


class Searching:
    """Searches of an open backend, asked and answered as over HTTP."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend = backend
        self._settings = settings

    async def search(self, mode: Mode, body: Mapping[str, Any]) -> dict[str, Any]:
        """The API's answer."""
        settings = self._settings
        asked = _validated(body)
        most = self._backend.max_reranked
        query = asked.to_query(
            top_k=settings.pinecone_top_k,
            namespace=settings.pinecone_namespace,
            rerank=PATHS[mode][1] if most else "none",
        )
        if query.rerank != "none" and query.top_k > most:
            raise InvalidRequest(f"top_k: must be at most {most}, or rerank must be none")
        events = self._backend.search(mode, query, Deadline(settings.search_timeout_ms / 1000))
        async for event in events:
            last = event
        return answer(last, query, settings.pinecone_text_field, cascading=mode == "cascading")


def _validated(body: Mapping[str, Any]) -> SearchRequest:
    try:
        asked = SearchRequest.model_validate_json(orjson.dumps(body))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        sentence = first["msg"].removeprefix("Value error, ")
        raise InvalidRequest(f"{where}: {sentence[:1].lower()}{sentence[1:]}") from None
    if not asked.text_query.strip():
        raise EmptyQuery(EMPTY_QUERY)
    return asked


@contextlib.contextmanager
def _way_out_told() -> Iterator[None]:
    """Where a running service has the directory, the service itself is the way in."""
    try:
        yield
    except StartupFailed as exc:
        if "belongs to process" not in exc.detail:
            raise
        owner = exc.detail.partition(", which is running")[0]
        raise CommandFailed(
            f"{owner}, which is running; if that is the service, reach it with --url, "
            "such as --url http://127.0.0.1:8000"
        ) from exc
