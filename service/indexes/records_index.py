"""An index that was made with `create_for_model`, over the records API.

It searches with `search` and writes with `upsert_records`; a record is read back as the metadata of
its vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pinecone import AsyncIndex
from pinecone.models.vectors.vector import Vector

from service.indexes.pinecone_index import PineconeIndex, next_cursor, to_document
from service.indexes.queries import (
    Hit,
    IndexQuery,
    IndexResponse,
    InlineRerank,
    usage_of,
    with_attempts,
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

MAX_URL_BYTES = 6_000  # of ids; servers refuse lines of more than 8 kB altogether


class RecordsIndex(PineconeIndex):
    """The index embeds texts by the model that it was made for."""

    supports_rerank = True

    async def search(
        self, query: IndexQuery, rerank: InlineRerank | None, timeout_s: float
    ) -> IndexResponse:
        async def run(client: AsyncIndex) -> IndexResponse:
            response = await client.search(
                namespace=query.namespace,
                top_k=query.top_k,
                inputs={"text": query.text},
                filter=query.filter,
                fields=query.fields,
                rerank={"model": rerank.model, "rank_fields": [rerank.field]} if rerank else None,
                match_terms=_all_of(query.match_terms) if query.match_terms else None,
            )
            usage = response.usage
            return IndexResponse(
                hits=[Hit(hit.id_, hit.score_, hit.fields) for hit in response.result.hits],
                usage=usage_of(usage.read_units, usage.embed_total_tokens, usage.rerank_units),
            )

        return with_attempts(*await self.reads.call(run, timeout_s))

    async def upsert(
        self, namespace: str, records: Sequence[EncodedRecord], timeout_s: float
    ) -> WriteCounts:
        documents = [to_document(record) for record in records]
        await self._write(
            lambda client: client.upsert_records(records=documents, namespace=namespace), timeout_s
        )
        return NO_COUNTS

    async def fetch(
        self, namespace: str, ids: Sequence[str], timeout_s: float
    ) -> Mapping[str, Record]:
        """The ids are part of the URL, so long ones take several calls."""

        async def run(client: AsyncIndex) -> dict[str, Record]:
            found: dict[str, Record] = {}
            for part in _url_sized_batches(ids):
                answer = await client.fetch(ids=part, namespace=namespace)
                found.update((id, _vector_record(id, each)) for id, each in answer.vectors.items())
            return found

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
            answer = await client.fetch_by_metadata(
                filter=filter, namespace=namespace, limit=limit, pagination_token=cursor
            )
            records = [_vector_record(id, each) for id, each in answer.vectors.items()]
            return RecordPage(records, next_cursor(answer.pagination))

        return await self._read(run, timeout_s)

    async def list_ids(
        self, namespace: str, prefix: str | None, limit: int, cursor: str | None, timeout_s: float
    ) -> IdPage:
        async def run(client: AsyncIndex) -> IdPage:
            answer = await client.list_paginated(
                prefix=prefix, limit=limit, pagination_token=cursor, namespace=namespace
            )
            ids = [item.id for item in answer.vectors if item.id is not None]
            return IdPage(ids, next_cursor(answer.pagination))

        return await self._read(run, timeout_s)

    async def delete(self, namespace: str, selection: Selection, timeout_s: float) -> int | None:
        await self._write(
            lambda client: client.delete(
                ids=selection.ids and list(selection.ids),
                filter=selection.filter,
                delete_all=selection.all,
                namespace=namespace,
            ),
            timeout_s,
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
