"""Rerank what was found: once over the union, or inside of one leg."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from service.indexes.dialect import Hit
from service.inference.port import Reranker
from service.retrieval.query import Result

ScoredT = TypeVar("ScoredT", Hit, Result)


async def rerank(
    reranker: Reranker, query: str, found: Sequence[ScoredT], text_field: str
) -> tuple[list[ScoredT], int]:
    """The same records in the reranker's order with its scores, and the units used.

    A reranker can't read a record without text, nor more than so many: what it did not read comes
    behind what it did, in the order that it had, with the lowest score.
    """
    readable: list[ScoredT] = [item for item in found if _text(item, text_field)]
    del readable[reranker.max_documents :]
    if not readable:
        return list(found), 0
    ranking = await reranker.rerank(query, [_text(item, text_field) for item in readable])
    scores: dict[int, float] = {id(readable[index]): score for index, score in ranking.order}
    unread: list[ScoredT] = [item for item in found if id(item) not in scores]
    lowest: float = min(scores.values())
    reranked = [item._replace(score=scores[id(item)]) for item in readable]
    reranked.sort(key=_by_score, reverse=True)
    reranked += [item._replace(score=lowest) for item in unread]
    return reranked, ranking.units


def _text(item: Hit | Result, field: str) -> str:
    text = item.fields.get(field)
    return text if isinstance(text, str) else ""


def _by_score(item: Hit | Result) -> float:
    return item.score
