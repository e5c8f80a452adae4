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

    A record without text can't be read by a reranker: it goes to the end, with the lowest score.
    """
    readable = [item for item in found if _text(item, text_field)]
    if not readable:
        return list(found), 0
    ranking = await reranker.rerank(query, [_text(item, text_field) for item in readable])
    scores = {id(readable[index]): score for index, score in ranking.order}
    unread = [item for item in found if id(item) not in scores]
    lowest = min(scores.values())
    reranked = [
        *sorted(
            (_scored(item, scores[id(item)]) for item in readable), key=_by_score, reverse=True
        ),
        *(_scored(item, lowest) for item in unread),
    ]
    return reranked, ranking.units


def _scored(item: ScoredT, score: float) -> ScoredT:
    return replace(item, score=score)  # type: ignore[type-var]


def _text(item: Scored, field: str) -> str:
    text = item.fields.get(field)
    return text if isinstance(text, str) else ""


def _by_score(item: Scored) -> float:
    return item.score
