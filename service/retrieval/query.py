"""What is asked and what is found, in the terms of every face that Cascade has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from service.retrieval.receipt import Receipt

Mode = Literal["semantic", "lexical", "cascading"]
RerankMode = Literal["union", "per-leg", "none"]
StageName = Literal["leg", "fused", "reranked", "done"]
Highlighter = Callable[[str, str], list[tuple[int, int]]]
"""From a query and a text to the places of the query's words in it: from this character to that."""

ALL_FIELDS = ("*",)


@dataclass(frozen=True, slots=True)
class Query:
    """One search. `fields` of None stands for the text alone, `("*",)` for every field.

    `match_terms` and `typos` are for words: a leg that searches by meaning passes them by. `depth`
    is how many records each leg looks for at least.
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
    depth: int = 0


class Result(NamedTuple):
    """One record in the answer, with the legs that found it."""

    id: str
    score: float
    fields: Mapping[str, Any]
    found_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """How far a search has come: the best results so far, and the receipt so far."""

    stage: StageName
    results: list[Result]
    receipt: Receipt
    leg: str | None = None
