"""Rerank what was found: once over the union, or inside of one leg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from service.inference.port import Reranker


class Scored(Protocol):
    @property
    def score(self) -> float: ...

    @property
    def fields(self) -> Mapping[str, Any]: ...


ScoredT = TypeVar("ScoredT", bound=Scored)


async def rerank(
    reranker: Reranker, query: str, found: Sequence[ScoredT], text_field: str
) -> tuple[list[ScoredT], int]:
    """The same records in the reranker's order with its scores, and the units used.

    Rerankers score from 0 to 1. A record without text can't be read by one, and one that it does
    not mention was of no interest to it: both score 0 and keep their order at the end.
    """
    readable = [item for item in found if _text(item, text_field)]
    if not readable:
        return list(found), 0
    ranking = await reranker.rerank(query, [_text(item, text_field) for item in readable])
    scores = {id(readable[index]): score for index, score in ranking.order}
    reranked = [replace(item, score=scores.get(id(item), 0.0)) for item in found]  # type: ignore[type-var]
    reranked.sort(key=_by_score, reverse=True)
    return reranked, ranking.units


def _text(item: Scored, field: str) -> str:
    text = item.fields.get(field)
    return text if isinstance(text, str) else ""


def _by_score(item: Scored) -> float:
    return item.score
