"""The records API as a dialect, for an index that was made with `create_for_model`.

It searches with `search` and writes with `upsert_records`; a record is read back as the metadata of
its vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pinecone.models.vectors.vector import Vector

from service.indexes.dialect import NO_TIMEOUT
from service.indexes.port import AsyncIndexPort
from service.indexes.queries import Hit, IndexQuery, IndexResponse, InlineRerank, usage_of
from service.indexes.records import IdPage, Record, RecordPage, Selection

MAX_URL_BYTES = 6_000  # of ids; servers refuse lines of more than 8 kB altogether


class RecordsDialect:
    """`index.search`: the index embeds the text by the model that it was made for."""

    supports_rerank = True

    async def search(
        self, index: AsyncIndexPort, query: IndexQuery, rerank: InlineRerank | None
    ) -> IndexResponse:
        response = await index.search(
            namespace=query.namespace,
            top_k=query.top_k,
            inputs={"text": query.text},
            filter=query.filter,
            fields=query.fields,
            rerank={"model": rerank.model, "rank_fields": [rerank.field]} if rerank else None,
            match_terms=_all_of(query.match_terms) if query.match_terms else None,
            timeout=NO_TIMEOUT,
        )
        usage = response.usage
        return IndexResponse(
            hits=[Hit(hit.id_, hit.score_, hit.fields) for hit in response.result.hits],
            usage=usage_of(usage.read_units, usage.embed_total_tokens, usage.rerank_units),
        )

    async def upsert(
        self, index: AsyncIndexPort, namespace: str, documents: Sequence[Record], timeout: float
    ) -> None:
        await index.upsert_records(
            records=[dict(document) for document in documents], namespace=namespace, timeout=timeout
        )

    async def fetch(
        self, index: AsyncIndexPort, namespace: str, ids: Sequence[str], timeout: float
    ) -> dict[str, Record]:
        """The ids are part of the URL, so long ones take several calls."""
        found: dict[str, Record] = {}
        for part in _url_sized_batches(ids):
            answer = await index.fetch(ids=part, namespace=namespace, timeout=timeout)
            found.update((id, _vector_record(id, each)) for id, each in answer.vectors.items())
        return found

    async def fetch_where(
        self,
        index: AsyncIndexPort,
        namespace: str,
        filter: Mapping[str, Any],
        limit: int,
        cursor: str | None,
        timeout: float,
    ) -> RecordPage:
        answer = await index.fetch_by_metadata(
            filter=filter,
            namespace=namespace,
            limit=limit,
            pagination_token=cursor,
            timeout=timeout,
        )
        records = [_vector_record(id, each) for id, each in answer.vectors.items()]
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
        answer = await index.list_paginated(
            prefix=prefix,
            limit=limit,
            pagination_token=cursor,
            namespace=namespace,
            timeout=timeout,
        )
        ids = [item.id for item in answer.vectors if item.id is not None]
        return IdPage(ids, answer.pagination.next if answer.pagination else None)

    async def delete(
        self, index: AsyncIndexPort, namespace: str, selection: Selection, timeout: float
    ) -> int | None:
        await index.delete(
            ids=selection.ids and list(selection.ids),
            filter=selection.filter,
            delete_all=selection.all,
            namespace=namespace,
            timeout=timeout,
        )
        return None


def _all_of(terms: Sequence[str]) -> dict[str, Any]:
    return {"strategy": "all", "terms": list(terms)}


def _vector_record(id: str, vector: Vector) -> Record:
    """The fields of a record, its text with them, are its vector's metadata."""
    return {"_id": id, **(vector.metadata or {})}


def _url_sized_batches(ids: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for id in ids:
        length = len(quote(id, safe="")) + len("&ids=")
        if part and size + length > MAX_URL_BYTES:
            yield part
            part, size = [], 0
        part.append(id)
        size += length
    if part:
        yield part
