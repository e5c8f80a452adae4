"""Reranking with a deadline: of the union, or of the hits of one leg."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from service.indexes.latency_tracker import LatencyTracker
from service.indexes.queries import Hit
from service.indexes.reads import deadline_exceeded
from service.inference.reranker import Reranker, RerankResult
from service.retrieval.deadline import Deadline
from service.retrieval.query import RankedRecord
from service.retrieval.receipt import Stopwatch

ScoredT = TypeVar("ScoredT", Hit, RankedRecord)


class TimedReranker:
    """A reranker that tracks its latency."""

    def __init__(self, reranker: Reranker) -> None:
        self.model = reranker.model
        self.max_documents = reranker.max_documents
        self.latencies = LatencyTracker()
        self._reranker = reranker

    async def rank(
        self, query: str, found: Sequence[ScoredT], text_field: str, deadline: Deadline
    ) -> tuple[list[ScoredT], RerankResult]:
        """The same records in the reranker's order with its scores, and its response.

        Raises the reranker's own `RequestError`, or `DeadlineExceeded`.

        Records without text, and those beyond `max_documents`, are not reranked: they follow the
        others in their original order, with the lowest score.
        """
        readable: list[ScoredT] = [item for item in found if _text(item, text_field)]
        del readable[self.max_documents :]
        if not readable:
            return list(found), RerankResult([], 0, 0)
        watch = Stopwatch()
        texts = [_text(item, text_field) for item in readable]
        try:
            async with asyncio.timeout(deadline.remaining()):
                ranking = await self._reranker.rerank(query, texts)
        except TimeoutError:
            raise deadline_exceeded("the reranker", deadline.seconds) from None
        self.latencies.add(watch.ms / 1000)
        scores: dict[int, float] = {id(readable[index]): score for index, score in ranking.order}
        unread: list[ScoredT] = [item for item in found if id(item) not in scores]
        lowest: float = min(scores.values())
        reranked = [item._replace(score=scores[id(item)]) for item in readable]
        reranked.sort(key=_by_score, reverse=True)
        reranked += [item._replace(score=lowest) for item in unread]
        return reranked, ranking


def _text(item: Hit | RankedRecord, field: str) -> str:
    text = item.fields.get(field)
    return text if isinstance(text, str) else ""


def _by_score(item: Hit | RankedRecord) -> float:
    return item.score
