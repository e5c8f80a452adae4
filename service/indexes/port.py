"""What Cascade asks of an index: the part of `pinecone.AsyncIndex` that it calls.

Names, arguments and answers are the client's own, so a real `AsyncIndex` satisfies the port with no
adapter in between, and whatever else does (the embedded engine) is a drop-in for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pinecone.models.documents.responses import SearchDocumentsResponse
from pinecone.models.vectors.responses import DescribeIndexStatsResponse
from pinecone.models.vectors.search import SearchRecordsResponse


class DocumentsPort(Protocol):
    """The documents dialect: `index.documents`."""

    async def search(
        self,
        *,
        namespace: str,
        score_by: Sequence[Mapping[str, Any]],
        top_k: int,
        include_fields: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> SearchDocumentsResponse: ...


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
        timeout: float | None = None,
    ) -> SearchRecordsResponse: ...

    async def describe_index_stats(
        self, *, timeout: float | None = None
    ) -> DescribeIndexStatsResponse: ...

    async def close(self) -> None: ...
