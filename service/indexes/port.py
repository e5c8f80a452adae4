"""The protocol of an index client: the part of `pinecone.AsyncIndex` that Cascade calls.

Names, arguments and responses are the client's own, so a real `AsyncIndex` satisfies it without an
adapter, and another implementation (the embedded engine) is a drop-in replacement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pinecone.models.documents.responses import (
    DeleteDocumentsResponse,
    FetchDocumentsResponse,
    ListedDocumentRecord,
    SearchDocumentsResponse,
    UpsertDocumentsResponse,
)
from pinecone.models.documents.score_by import DocumentScoringMethod
from pinecone.models.pagination import AsyncPaginator
from pinecone.models.vectors.responses import (
    DescribeIndexStatsResponse,
    FetchByMetadataResponse,
    FetchResponse,
    ListResponse,
    UpsertRecordsResponse,
)
from pinecone.models.vectors.search import SearchRecordsResponse


class DocumentsPort(Protocol):
    """The documents dialect: `index.documents`."""

    async def search(
        self,
        *,
        namespace: str,
        score_by: Sequence[DocumentScoringMethod | Mapping[str, Any]],
        top_k: int,
        include_fields: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> SearchDocumentsResponse: ...

    async def upsert(
        self,
        *,
        namespace: str,
        documents: Sequence[Mapping[str, Any]],
        timeout: float | None = None,
    ) -> UpsertDocumentsResponse: ...

    async def fetch(
        self,
        *,
        namespace: str,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        pagination_token: str | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> FetchDocumentsResponse: ...

    async def delete(
        self,
        *,
        namespace: str,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        delete_all: bool = False,
        timeout: float | None = None,
    ) -> DeleteDocumentsResponse: ...

    def list(
        self,
        *,
        namespace: str,
        prefix: str | None = None,
        limit: int | None = None,
        pagination_token: str | None = None,
        timeout: float | None = None,
    ) -> AsyncPaginator[ListedDocumentRecord]: ...


class AsyncIndexPort(Protocol):
    """One connection-pooled client of one index."""

    @property
    def documents(self) -> DocumentsPort: ...

    async def search(
        self,
        *,
        namespace: str,
        top_k: int | None = None,
        inputs: Mapping[str, Any] | None = None,
        filter: Mapping[str, Any] | None = None,
        fields: Sequence[str] | None = None,
        rerank: Mapping[str, Any] | None = None,
        match_terms: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> SearchRecordsResponse: ...

    async def upsert_records(
        self, *, records: list[dict[str, Any]], namespace: str, timeout: float | None = None
    ) -> UpsertRecordsResponse: ...

    async def fetch(
        self, *, ids: Sequence[str], namespace: str = "", timeout: float | None = None
    ) -> FetchResponse: ...

    async def fetch_by_metadata(
        self,
        *,
        filter: Mapping[str, Any],
        namespace: str = "",
        limit: int | None = None,
        pagination_token: str | None = None,
        timeout: float | None = None,
    ) -> FetchByMetadataResponse: ...

    async def list_paginated(
        self,
        *,
        prefix: str | None = None,
        limit: int | None = None,
        pagination_token: str | None = None,
        namespace: str = "",
        timeout: float | None = None,
    ) -> ListResponse: ...

    async def delete(
        self,
        *,
        ids: Sequence[str] | None = None,
        delete_all: bool = False,
        filter: Mapping[str, Any] | None = None,
        namespace: str = "",
        timeout: float | None = None,
    ) -> None: ...

    async def describe_index_stats(
        self, *, timeout: float | None = None
    ) -> DescribeIndexStatsResponse: ...

    async def close(self) -> None: ...
