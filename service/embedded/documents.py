"""The documents dialect of an embedded index: `index.documents.search`, `index.documents.upsert`.

Arguments, answers and exceptions are those of Pinecone's client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pinecone.errors import ApiError
from pinecone.models.documents.document import Document
from pinecone.models.documents.responses import (
    DocumentSearchUsage,
    SearchDocumentsResponse,
    UpsertDocumentsResponse,
)

if TYPE_CHECKING:
    from service.embedded.index import EmbeddedIndex

CLAUSES = ("embed", "text")


class EmbeddedDocuments:
    """What `index.documents` is."""

    def __init__(self, index: EmbeddedIndex) -> None:
        self._index = index

    async def search(
        self,
        *,
        namespace: str,
        score_by: Sequence[Mapping[str, Any]],
        top_k: int,
        include_fields: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> SearchDocumentsResponse:
        """Rank documents by one clause: `embed` (meaning) or `text` (words)."""
        if len(score_by) != 1 or score_by[0].get("type") not in CLAUSES:
            raise ApiError(f"score_by takes one clause, of type {' or '.join(CLAUSES)}", 400)
        clause = score_by[0]
        found = await self._index.find(clause["type"], clause["query"], namespace, top_k, filter)
        return SearchDocumentsResponse(
            matches=[
                Document(
                    {"_id": each.id, "_score": score, **chosen(each.fields, include_fields or ())}
                )
                for each, score in found
            ],
            namespace=namespace,
            usage=DocumentSearchUsage(read_units=0),
        )

    async def upsert(
        self,
        *,
        namespace: str,
        documents: Sequence[Mapping[str, Any]],
        timeout: float | None = None,
    ) -> UpsertDocumentsResponse:
        """Write documents, each in place of the one with its `_id`."""
        return UpsertDocumentsResponse(upserted_count=await self._index.write(namespace, documents))


def chosen(fields: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """The fields that were asked for; `*` asks for all of them."""
    if "*" in wanted:
        return dict(fields)
    return {name: fields[name] for name in wanted if name in fields}
