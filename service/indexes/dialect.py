"""A query to an index and its answer, and what every way of talking to one can do.

Knows nothing of the wordings: those of the records calls are in `records_dialect.py`, those of the
documents calls in `documents_dialect.py`. Above them there are only questions, answers and records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from service.indexes.port import AsyncIndexPort
from service.indexes.writes import IdPage, Record, RecordPage, Selection

NO_TIMEOUT = math.inf  # seconds


class Hit(NamedTuple):
    """One record that an index found: its id, the score of the leg, and its fields."""

    id: str
    score: float
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InlineRerank:
    """The order to rerank inside of the search itself."""

    model: str
    field: str


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """What a leg asks its index. `fields` of None asks for all of them."""

    text: str
    top_k: int
    namespace: str
    filter: Mapping[str, Any] | None = None
    fields: tuple[str, ...] | None = None
    match_terms: tuple[str, ...] = ()
    typos: bool = False


@dataclass(frozen=True, slots=True)
class IndexResponse:
    """What the index found, best first, and the units that it used up."""

    hits: list[Hit]
    usage: Mapping[str, int]


def usage_of(read: int, embed: int | None = None, rerank: int | None = None) -> dict[str, int]:
    """The units of an answer, as far as the index has counted them."""
    units = {"read_units": read, "embed_total_tokens": embed, "rerank_units": rerank}
    return {name: count for name, count in units.items() if count is not None}


class Dialect(Protocol):
    """A way of asking an index, and of writing to it."""

    @property
    def supports_rerank(self) -> bool:
        """Whether `ask` can rerank inside of the search."""
        ...

    @property
    def supports_typos(self) -> bool:
        """Whether `ask` can let words pass that are off by a letter."""
        ...

    @property
    def max_records(self) -> int:
        """How many records one `upsert` takes; its JSON has at most MAX_UPSERT_BYTES."""
        ...

    async def search(
        self, index: AsyncIndexPort, query: IndexQuery, rerank: InlineRerank | None
    ) -> IndexResponse:
        """Has no timeout of its own; the caller applies a deadline."""
        ...

    async def upsert(
        self, index: AsyncIndexPort, namespace: str, records: Sequence[Record], timeout: float
    ) -> None: ...

    async def fetch(
        self, index: AsyncIndexPort, namespace: str, ids: Sequence[str], timeout: float
    ) -> dict[str, Record]:
        """The records that are there, by id."""
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
        """A page of the records that a filter selects."""
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
        """Delete at most MAX_IDS ids, or by filter, or all; how many, where the index says it."""
        ...
