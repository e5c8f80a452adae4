"""The query and the results of a search, shared by all routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from service.retrieval.receipt import Receipt

Mode = Literal["semantic", "lexical", "cascading"]
RerankMode = Literal["union", "per-leg", "none"]
Fusion = Literal["z-score", "min-max", "rrf"]
Offsets = Literal["characters", "utf16"]
StageName = Literal["leg", "fused", "reranked", "done"]
Spans = list[tuple[int, int]]
"""Ranges of a text, as (start, end)."""
Highlight = Callable[[str], Spans]
"""Maps a text to the spans of a query's words."""
Highlighter = Callable[[str, bool], Highlight]
"""Analyzes a query, once for all texts; the second argument is whether typos match."""

ALL_FIELDS = ("*",)


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """One search. `fields` of None returns the text only, `("*",)` for every field.

    `match_terms` and `typos` apply to words; a semantic leg ignores them. `offsets` is the unit of
    highlights. `fusion` and
    `lexical_weight` apply where scores are not comparable; without a weight, each leg uses its own.
    `depth` is the minimum number of records that each leg requests.
    """

    text: str
    top_k: int
    namespace: str
    rerank: RerankMode
    filter: Mapping[str, Any] | None = None
    fields: tuple[str, ...] | None = None
    match_terms: tuple[str, ...] = ()
    typos: bool = False
    highlight: bool = False
    offsets: Offsets = "characters"
    fusion: Fusion = "z-score"
    lexical_weight: float | None = None
    explain: bool = False
    depth: int = 0


class RankedRecord(NamedTuple):
    """One record in the answer, with the legs that found it."""

    id: str
    score: float
    fields: Mapping[str, Any]
    found_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RankedPosition:
    """The rank of a record at a stage, from 1, and its score there."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A record's position at each stage that ran, and its rank without each of them.

    None means that a leg did not find it, that the stage did not run, or that it would not be
    found.
    """

    legs: Mapping[str, RankedPosition | None]
    fused: RankedPosition | None
    reranked: RankedPosition | None
    rank_without: Mapping[str, int | None]


Explanations = Mapping[str, Explanation]
"""Explanations by record id."""


class StageEvent(NamedTuple):
    """The results and the receipt of a search so far.

    The last event has explanations if the query requests them.
    """

    stage: StageName
    results: list[RankedRecord]
    receipt: Receipt
    leg: str | None = None
    explanations: Explanations | None = None
