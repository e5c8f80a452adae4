"""What is asked and what is found, in the terms of every face that Cascade has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from service.retrieval.receipt import Receipt

Mode = Literal["semantic", "lexical", "cascading"]
RerankMode = Literal["union", "per-leg", "none"]
Fusion = Literal["z-score", "min-max", "rrf"]
StageName = Literal["leg", "fused", "reranked", "done"]
Highlighter = Callable[[str, str], list[tuple[int, int]]]
"""From a query and a text to the places of the query's words in it: from this character to that."""

ALL_FIELDS = ("*",)


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """One search. `fields` of None stands for the text alone, `("*",)` for every field.

    `match_terms` and `typos` are for words: a leg that searches by meaning passes them by.
    `fusion` and `lexical_weight` are for scores that are not comparable; without a weight, each leg
    has its own. `depth` is how many records each leg looks for at least.
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
    """Where a stage put a record, from 1, and with which score."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A record's place at each stage that took part, and its rank without each of them.

    None stands for a leg that did not find it, a stage that there was not, and a rank that it would
    not have.
    """

    legs: Mapping[str, RankedPosition | None]
    fused: RankedPosition | None
    reranked: RankedPosition | None
    rank_without: Mapping[str, int | None]


Explanations = Mapping[str, Explanation]
"""By the ids of the records that they are about."""


class StageEvent(NamedTuple):
    """How far a search has come: the best results so far, and the receipt so far.

    The last one explains its results, by their ids, if that was asked for.
    """

    stage: StageName
    results: list[RankedRecord]
    receipt: Receipt
    leg: str | None = None
    explanations: Explanations | None = None
