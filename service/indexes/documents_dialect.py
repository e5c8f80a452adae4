"""The documents API as a dialect, for an index with a schema, of which one field is searched."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from service.indexes.dialect import NO_TIMEOUT
from service.indexes.port import AsyncIndexPort
from service.indexes.queries import (
    Hit,
    IndexQuery,
    IndexResponse,
    InlineRerank,
    usage_of,
    with_match_terms,
)
from service.indexes.records import IdPage, Record, RecordPage, Selection

DenseClause = Literal["embed"]
SparseClause = Literal["sparse_embed", "text"]


@dataclass(frozen=True, slots=True)
class DocumentsDialect:
    """`index.documents`: one clause over one field of a document index."""

    clause: DenseClause | SparseClause
    field: str

    @property
    def supports_rerank(self) -> bool:
        return False

    async def search(
        self, index: AsyncIndexPort, query: IndexQuery, rerank: InlineRerank | None
    ) -> IndexResponse:
        assert rerank is None, "the documents call can't rerank"  # noqa: S101 - our own contract
        response = await index.documents.search(
            namespace=query.namespace,
            score_by=[self._clause(query)],
            top_k=query.top_k,
            include_fields=["*"] if query.fields is None else query.fields,
            filter=with_match_terms(query, self.field),
            timeout=NO_TIMEOUT,
        )
        usage = response.usage
        return IndexResponse(
            hits=[_document_hit(match.to_dict()) for match in response.matches],
            usage=usage_of(usage.read_units, usage.embed_total_tokens) if usage else {},
        )

    def _clause(self, query: IndexQuery) -> dict[str, Any]:
        field = {"fields": [self.field]} if self.clause == "text" else {"field": self.field}
        return {"type": self.clause, "query": query.text, **field}

    async def upsert(
        self, index: AsyncIndexPort, namespace: str, documents: Sequence[Record], timeout: float
    ) -> None:
        await index.documents.upsert(namespace=namespace, documents=documents, timeout=timeout)

    async def fetch(
        self, index: AsyncIndexPort, namespace: str, ids: Sequence[str], timeout: float
    ) -> dict[str, Record]:
        answer = await index.documents.fetch(namespace=namespace, ids=list(ids), timeout=timeout)
        return {id: {"_id": id, **each.to_dict()} for id, each in answer.documents.items()}

    async def fetch_where(
        self,
        index: AsyncIndexPort,
        namespace: str,
        filter: Mapping[str, Any],
        limit: int,
        cursor: str | None,
        timeout: float,
    ) -> RecordPage:
        answer = await index.documents.fetch(
            namespace=namespace,
            filter=filter,
            limit=limit,
            pagination_token=cursor,
            timeout=timeout,
        )
        records = [{"_id": id, **each.to_dict()} for id, each in answer.documents.items()]
        return RecordPage(records, answer.pagination.next if answer.pagination else None)

    async def list_ids(
        self,
        index: AsyncIndexPort,
        namespace: str,
        prefix: str | None,
        limit: int | None,
        cursor: str | None,
        timeout: float,
    ) -> IdPage:
        listing = index.documents.list(
            namespace=namespace,
            prefix=prefix,
            limit=limit,
            pagination_token=cursor,
            timeout=timeout,
        )
        async with contextlib.aclosing(listing.pages()) as pages:
            page = await anext(pages)
        return IdPage([item.id for item in page.items], page.pagination_token)

    async def delete(
        self, index: AsyncIndexPort, namespace: str, selection: Selection, timeout: float
    ) -> int | None:
        answer = await index.documents.delete(
            namespace=namespace,
            ids=selection.ids,
            filter=selection.filter,
            delete_all=selection.all,
            timeout=timeout,
        )
        return answer.matched_records


def _document_hit(match: dict[str, Any]) -> Hit:
    return Hit(str(match.pop("_id")), float(match.pop("_score")), match)
