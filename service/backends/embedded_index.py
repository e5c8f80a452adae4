"""The text field of an embedded index, searched by meaning or by words, as an `Index`.

Queries and records stay typed on their way to the engine, which runs its blocking work in threads
of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from service.embedded.errors import EngineError, FieldsRefused, engine_errors
from service.embedded.filters.validation import check_selector
from service.embedded.index import EmbeddedIndex
from service.embedded.lexical.queries import TextClause
from service.embedded.pending_documents import PendingDocument
from service.embedded.queries import LexicalQuery, SemanticQuery
from service.embedded.selection import page_of_ids, page_where
from service.embedded.storage.store import Document
from service.errors import (
    RequestError,
    StorageFull,
    TooManyFields,
    UpstreamRefused,
    UpstreamUnavailable,
)
from service.indexes.index import IndexStats, Kind
from service.indexes.queries import (
    Hit,
    IndexQuery,
    IndexResponse,
    InlineRerank,
    usage_of,
    with_match_terms,
)
from service.indexes.reads import deadline_exceeded
from service.indexes.records import (
    EncodedRecord,
    IdPage,
    Record,
    RecordPage,
    Selection,
    WriteCounts,
)
from service.logs import redact_query

logger = logging.getLogger(__name__)

MAX_RECORDS = 500  # per upsert: more would block the event loop for too long
USAGE = usage_of(read=1)
ERRORS_BY_STATUS: dict[int, type[RequestError]] = {
    400: UpstreamRefused,
    503: UpstreamUnavailable,
    507: StorageFull,
}


class EmbeddedTextIndex:
    """The `dense` index searches the field's embeddings, the `sparse` one its words."""

    supports_rerank = False
    max_records = MAX_RECORDS

    def __init__(self, kind: Kind, index: EmbeddedIndex, field: str) -> None:
        self.name = kind
        self.host = str(index.folder)
        self.supports_typos = kind == "sparse"
        self._index = index
        self._field = field

    async def search(
        self, query: IndexQuery, rerank: InlineRerank | None, timeout_s: float
    ) -> IndexResponse:
        assert rerank is None, "supports_rerank is false"  # noqa: S101
        filter = with_match_terms(query, self._field)
        async with self._operation(timeout_s):
            found = await self._index.search(
                query.namespace, self._engine_query(query), query.top_k, filter
            )
        return IndexResponse([_hit(document, score, query) for document, score in found], USAGE)

    async def upsert(
        self, namespace: str, records: Sequence[EncodedRecord], timeout_s: float
    ) -> WriteCounts:
        documents = [PendingDocument(each.id, each.fields, json=each.json) for each in records]
        async with self._operation(timeout_s):
            return await self._index.upsert(namespace, documents)

    async def fetch(
        self, namespace: str, ids: Sequence[str], timeout_s: float
    ) -> Mapping[str, Record]:
        async with self._operation(timeout_s):
            found = await self._index.read(lambda store: store.documents_by_id(namespace, ids))
        return {each.id: _record(each) for each in found}

    async def fetch_where(
        self,
        namespace: str,
        filter: Mapping[str, Any],
        limit: int,
        cursor: str | None,
        timeout_s: float,
    ) -> RecordPage:
        async with self._operation(timeout_s):
            found, following = await page_where(self._index, namespace, filter, cursor, limit)
        return RecordPage([_record(each) for each in found], following)

    async def list_ids(
        self, namespace: str, prefix: str | None, limit: int, cursor: str | None, timeout_s: float
    ) -> IdPage:
        async with self._operation(timeout_s):
            return IdPage(*await page_of_ids(self._index, namespace, prefix or "", cursor, limit))

    async def delete(self, namespace: str, selection: Selection, timeout_s: float) -> int:
        async with self._operation(timeout_s):
            if selection.filter is not None:
                check_selector(self._index.schema, selection.filter)
                return await self._index.delete_where(namespace, selection.filter)
            if selection.all:
                return await self._index.clear_namespace(namespace)
            return await self._index.delete(namespace, selection.ids or ())

    async def stats(self, timeout_s: float) -> IndexStats:
        async with self._operation(timeout_s):
            counts = await self._index.read(lambda store: store.namespace_counts())
        dimension = self._index.dimensions[self._field]
        return IndexStats(sum(counts.values()), dimension, "cosine", counts)

    async def ping(self) -> None:
        with self._request_errors():
            await self._index.read(lambda store: store.last_seq())

    def has_records(self, namespace: str) -> bool:
        return self._index.views.filters.has(namespace)

    def rebuild_progress(self) -> float | None:
        if self.name == "dense":
            return self._index.views.dense_rebuild_progress()
        return self._index.views.lexical_rebuild_progress()

    def _engine_query(self, query: IndexQuery) -> SemanticQuery | LexicalQuery:
        if self.name == "dense":
            return SemanticQuery(self._field, query.text)
        return LexicalQuery([TextClause(query.text, (self._field,), typos=query.typos)])

    @contextlib.asynccontextmanager
    async def _operation(self, timeout_s: float) -> AsyncIterator[None]:
        """Apply the timeout, and map the engine's errors."""
        try:
            async with asyncio.timeout(timeout_s):
                with self._request_errors():
                    yield
        except TimeoutError:
            raise deadline_exceeded(f"the {self.name} index", timeout_s) from None

    @contextlib.contextmanager
    def _request_errors(self) -> Iterator[None]:
        try:
            with engine_errors():
                yield
        except EngineError as exc:
            detail = f"the {self.name} index: {exc.message}"
            logger.warning("%.500s", " ".join(redact_query(detail).split()))
            if isinstance(exc, FieldsRefused):
                raise TooManyFields(detail) from exc
            raise ERRORS_BY_STATUS[exc.status](detail) from exc


def _hit(document: Document, score: float, query: IndexQuery) -> Hit:
    fields = document.fields
    if query.fields is not None:
        fields = {name: fields[name] for name in query.fields if name in fields}
    return Hit(document.id, score, fields)


def _record(document: Document) -> Record:
    return {"_id": document.id, **document.fields}
