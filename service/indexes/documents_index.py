"""An index with a schema, of which one field is searched, over the documents API."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pinecone import AsyncIndex

from service.indexes.index import Kind
from service.indexes.pinecone_index import PineconeIndex, next_cursor, to_document
from service.indexes.pool import LanePool
from service.indexes.queries import (
    Hit,
    IndexQuery,
    IndexResponse,
    InlineRerank,
    usage_of,
    with_attempts,
    with_match_terms,
)
from service.indexes.records import (
    NO_COUNTS,
    EncodedRecord,
    IdPage,
    Record,
    RecordPage,
    Selection,
    WriteCounts,
)

DenseClause = Literal["embed"]
SparseClause = Literal["sparse_embed", "text"]


@dataclass(frozen=True, slots=True)
class SearchField:
    """The field that is searched, and the type of the clause that searches it."""

    name: str
    clause: DenseClause | SparseClause

    def clause_for(self, text: str) -> dict[str, Any]:
        field = {"fields": [self.name]} if self.clause == "text" else {"field": self.name}
        return {"type": self.clause, "query": text, **field}


class DocumentsIndex(PineconeIndex):
    """Searches by one clause over one field."""

    supports_rerank = False

    def __init__(
        self, kind: Kind, host: str, pool: LanePool[AsyncIndex], field: SearchField
    ) -> None:
        super().__init__(kind, host, pool)
        self._field = field

    async def search(
        self, query: IndexQuery, rerank: InlineRerank | None, timeout_s: float
    ) -> IndexResponse:
        assert rerank is None, "supports_rerank is false"  # noqa: S101

        async def run(client: AsyncIndex) -> IndexResponse:
            response = await client.documents.search(
                namespace=query.namespace,
                score_by=[self._field.clause_for(query.text)],
                top_k=query.top_k,
                include_fields=["*"] if query.fields is None else query.fields,
                filter=with_match_terms(query, self._field.name),
            )
            usage = response.usage
            return IndexResponse(
                hits=[_document_hit(match.to_dict()) for match in response.matches],
                usage=usage_of(usage.read_units, usage.embed_total_tokens) if usage else {},
            )

        return with_attempts(*await self.reads.call(run, timeout_s))

    async def upsert(
        self, namespace: str, records: Sequence[EncodedRecord], timeout_s: float
    ) -> WriteCounts:
        documents = [to_document(record) for record in records]
        await self._write(
            lambda client: client.documents.upsert(namespace=namespace, documents=documents),
            timeout_s,
        )
        return NO_COUNTS

    async def fetch(
        self, namespace: str, ids: Sequence[str], timeout_s: float
    ) -> Mapping[str, Record]:
        async def run(client: AsyncIndex) -> dict[str, Record]:
            answer = await client.documents.fetch(namespace=namespace, ids=list(ids))
            return {id: {"_id": id, **each.to_dict()} for id, each in answer.documents.items()}

        return await self._read(run, timeout_s)

    async def fetch_where(
        self,
        namespace: str,
        filter: Mapping[str, Any],
        limit: int,
        cursor: str | None,
        timeout_s: float,
    ) -> RecordPage:
        async def run(client: AsyncIndex) -> RecordPage:
            answer = await client.documents.fetch(
                namespace=namespace, filter=filter, limit=limit, pagination_token=cursor
            )
            records = [{"_id": id, **each.to_dict()} for id, each in answer.documents.items()]
            return RecordPage(records, next_cursor(answer.pagination))

        return await self._read(run, timeout_s)

    async def list_ids(
        self, namespace: str, prefix: str | None, limit: int, cursor: str | None, timeout_s: float
    ) -> IdPage:
        async def run(client: AsyncIndex) -> IdPage:
            listing = client.documents.list(
                namespace=namespace, prefix=prefix, limit=limit, pagination_token=cursor
            )
            async with contextlib.aclosing(listing.pages()) as pages:
                page = await anext(pages)
            return IdPage([item.id for item in page.items], page.pagination_token)

        return await self._read(run, timeout_s)

    async def delete(self, namespace: str, selection: Selection, timeout_s: float) -> int | None:
        async def run(client: AsyncIndex) -> int | None:
            answer = await client.documents.delete(
                namespace=namespace,
                ids=selection.ids,
                filter=selection.filter,
                delete_all=selection.all,
            )
            return answer.matched_records

        return await self._write(run, timeout_s)


def _document_hit(match: dict[str, Any]) -> Hit:
    return Hit(str(match.pop("_id")), float(match.pop("_score")), match)
