"""The protocol of a dialect: one of the two APIs in which a Pinecone index is searched and written.

`records_dialect.py` implements the records API, `documents_dialect.py` the documents API.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from service.indexes.port import AsyncIndexPort
from service.indexes.queries import IndexQuery, IndexResponse, InlineRerank
from service.indexes.records import IdPage, Record, RecordPage, Selection

NO_TIMEOUT = math.inf  # seconds


class Dialect(Protocol):
    """Translates queries and records to the calls of an index client."""

    @property
    def supports_rerank(self) -> bool:
        """Whether `search` can rerank its hits."""
        ...

    async def search(
        self, index: AsyncIndexPort, query: IndexQuery, rerank: InlineRerank | None
    ) -> IndexResponse:
        """Has no timeout of its own; the caller applies a deadline."""
        ...

    async def upsert(
        self, index: AsyncIndexPort, namespace: str, documents: Sequence[Record], timeout: float
    ) -> None: ...

    async def fetch(
        self, index: AsyncIndexPort, namespace: str, ids: Sequence[str], timeout: float
    ) -> dict[str, Record]:
        """The records that exist, by id."""
        ...

    async def fetch_where(
        self,
        index: AsyncIndexPort,
        namespace: str,
        filter: Mapping[str, Any],
        limit: int,
        cursor: str | None,
        timeout: float,
    ) -> RecordPage:
        """A page of the records that match a filter."""
        ...

    async def list_ids(
        self,
        index: AsyncIndexPort,
        namespace: str,
        prefix: str | None,
        limit: int | None,
        cursor: str | None,
        timeout: float,
    ) -> IdPage: ...

    async def delete(
        self, index: AsyncIndexPort, namespace: str, selection: Selection, timeout: float
    ) -> int | None:
        """Delete up to `MAX_IDS` ids, or by filter, or all; the count if the index reports it."""
        ...
