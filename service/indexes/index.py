"""An index, as the rest of the service sees it. Each backend implements it.

Above this protocol nothing depends on Pinecone's client or on the embedded engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from service.indexes.queries import IndexQuery, IndexResponse, InlineRerank
from service.indexes.records import (
    EncodedRecord,
    IdPage,
    Record,
    RecordPage,
    Selection,
    WriteCounts,
)

Kind = Literal["dense", "sparse"]


@dataclass(frozen=True, slots=True)
class IndexStats:
    """The number of records in an index, and its vectors' dimension and metric if it has any."""

    records: int
    dimension: int | None
    metric: str | None
    namespaces: Mapping[str, int]


class Index(Protocol):
    """One open index. Its methods raise `RequestError`, at the latest after `timeout_s`.

    Reads are retried inside where that helps; a write is attempted once.
    """

    @property
    def name(self) -> str:
        """The logical name: `dense` or `sparse`."""
        ...

    @property
    def host(self) -> str:
        """The location. Two indexes with the same host are one index."""
        ...

    @property
    def supports_rerank(self) -> bool:
        """Whether `search` can rerank its hits."""
        ...

    @property
    def supports_typos(self) -> bool:
        """Whether `search` can match misspelled words."""
        ...

    @property
    def max_records(self) -> int:
        """The largest number of records in one `upsert`."""
        ...

    async def search(
        self, query: IndexQuery, rerank: InlineRerank | None, timeout_s: float
    ) -> IndexResponse: ...

    async def upsert(
        self, namespace: str, records: Sequence[EncodedRecord], timeout_s: float
    ) -> WriteCounts: ...

    async def fetch(
        self, namespace: str, ids: Sequence[str], timeout_s: float
    ) -> Mapping[str, Record]:
        """The records that exist, by id."""
        ...

    async def fetch_where(
        self,
        namespace: str,
        filter: Mapping[str, Any],
        limit: int,
        cursor: str | None,
        timeout_s: float,
    ) -> RecordPage:
        """A page of the records that match a filter."""
        ...

    async def list_ids(
        self,
        namespace: str,
        prefix: str | None,
        limit: int,
        cursor: str | None,
        timeout_s: float,
    ) -> IdPage:
        """A page of ids, in order."""
        ...

    async def delete(self, namespace: str, selection: Selection, timeout_s: float) -> int | None:
        """Delete up to `MAX_IDS` ids, or by filter, or all; the count if the index reports it."""
        ...

    async def stats(self, timeout_s: float) -> IndexStats: ...

    def has_records(self, namespace: str) -> bool | None:
        """Whether a namespace has records; None if that would take a call."""
        ...

    async def ping(self) -> None:
        """Check that the index answers. The caller applies a timeout."""
        ...

    def rebuild_progress(self) -> float | None:
        """The completed share of a rebuild, or None while the index can answer."""
        ...
