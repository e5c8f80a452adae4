"""A leg of a search: one index, queried in one way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from service.errors import RequestError
from service.indexes.index import Index
from service.indexes.queries import IndexQuery, IndexResponse, InlineRerank
from service.retrieval.deadline import Deadline
from service.retrieval.query import ALL_FIELDS, SearchQuery
from service.retrieval.receipt import FUSED, StageReceipt, Stopwatch, failed_stage
from service.retrieval.rerank import TimedReranker


class LegReport(NamedTuple):
    """How a leg ended: an answer, or the error that it ended in."""

    stage: StageReceipt
    answer: IndexResponse | None = None
    error: RequestError | None = None
    lost: StageReceipt | None = None  # of the reranker, where the answer had to do without


@dataclass(frozen=True, slots=True)
class Leg:
    """`name` is how answers call it: `semantic` or `lexical`.

    `weight` is its share when it is fused with others; `candidates` is how many hits it asks for at
    least: what is fused is better judged among many, and what is beyond the first page is kept for
    the next.
    """

    name: str
    index: Index
    text_field: str
    weight: float = 0.5
    candidates: int = 0

    def asks_for(self, query: SearchQuery) -> int:
        return max(query.top_k, self.candidates, query.depth)

    async def search(
        self,
        query: SearchQuery,
        reranker: TimedReranker | None,
        deadline: Deadline,
        fallback: str | None,
    ) -> LegReport:
        """Search and report. A `RequestError` is reported too: the other leg may have an answer."""
        watch = Stopwatch()
        try:
            answer = await self._ask(query, reranker, deadline)
        except RequestError as exc:
            return LegReport(failed_stage(self.name, watch, exc, fallback), error=exc)
        lost = None
        if query.rerank == "per-leg" and reranker is not None and not self.index.supports_rerank:
            answer, lost = await self._reranked(answer, query, reranker, deadline)
        stage = StageReceipt(
            self.name, "ok", watch.ms, len(answer.hits), answer.usage, attempts=answer.attempts
        )
        return LegReport(stage, answer, lost=lost)

    async def _ask(
        self, query: SearchQuery, reranker: TimedReranker | None, deadline: Deadline
    ) -> IndexResponse:
        question, inside = self._question(query), None
        if query.rerank == "per-leg" and reranker is not None and self.index.supports_rerank:
            question = replace(question, top_k=min(question.top_k, reranker.max_documents))
            inside = InlineRerank(reranker.model, self.text_field)
        return await self.index.search(question, inside, deadline.remaining())

    async def _reranked(
        self, answer: IndexResponse, query: SearchQuery, reranker: TimedReranker, deadline: Deadline
    ) -> tuple[IndexResponse, StageReceipt | None]:
        """The answer in the reranker's order; or as it is, and what became of the reranker."""
        watch = Stopwatch()
        try:
            hits, ranking = await reranker.rank(query.text, answer.hits, self.text_field, deadline)
        except RequestError as exc:
            return answer, failed_stage("rerank", watch, exc, FUSED)
        usage = {**answer.usage, "rerank_units": ranking.units}
        return replace(answer, hits=hits, usage=usage), None

    def _question(self, query: SearchQuery) -> IndexQuery:
        fields = query.fields
        if fields is None:
            fields = (self.text_field,)
        elif fields == ALL_FIELDS:
            fields = None
        elif self.text_field not in fields and (query.rerank != "none" or query.highlight):
            fields = (*fields, self.text_field)  # the reranker reads it, or the highlighter
        return IndexQuery(
            query.text,
            self.asks_for(query),
            query.namespace,
            query.filter,
            fields,
            query.match_terms,
            query.typos,
        )
