"""What is asked and what is found, in the terms of every face that Cascade has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from service.retrieval.receipt import Receipt

Mode = Literal["semantic", "lexical", "cascading"]
RerankMode = Literal["union", "per-leg", "none"]
StageName = Literal["leg", "fused", "reranked", "done"]

ALL_FIELDS = ("*",)


@dataclass(frozen=True, slots=True)
class Query:
    """One search. `fields` of None stands for the text alone, `("*",)` for every field."""

    text: str
    top_k: int
    namespace: str
    rerank: RerankMode
    filter: Mapping[str, Any] | None = None
    fields: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Result:
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
