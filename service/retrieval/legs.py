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
    """The outcome of a leg: an answer or an error."""

    stage: StageReceipt
    answer: IndexResponse | None = None
    error: RequestError | None = None
    rerank_failure: StageReceipt | None = None  # set if the hits could not be reranked


@dataclass(frozen=True, slots=True)
class Leg:
    """`name` is its name in responses: `semantic` or `lexical`.

    `weight` is its share in the fusion. `candidates` is the minimum number of hits to request:
    fusion is more accurate over many hits, and those beyond the first page serve the next page.
    """

    name: str
    index: Index
    text_field: str
    weight: float = 0.5
    candidates: int = 0

    def hits_to_request(self, query: SearchQuery) -> int:
        return max(query.top_k, self.candidates, query.depth)

    async def search(
        self,
        query: SearchQuery,
        reranker: TimedReranker | None,
        deadline: Deadline,
        fallback: str | None,
    ) -> LegReport:
        """Search. A `RequestError` is reported, not raised: the other leg may have an answer."""
        watch = Stopwatch()
        try:
            answer = await self._search(query, reranker, deadline)
        except RequestError as exc:
            return LegReport(failed_stage(self.name, watch, exc, fallback), error=exc)
        rerank_failure = None
        if query.rerank == "per-leg" and reranker is not None and not self.index.supports_rerank:
            answer, rerank_failure = await self._rerank_hits(answer, query, reranker, deadline)
        stage = StageReceipt(
            self.name, "ok", watch.ms, len(answer.hits), answer.usage, attempts=answer.attempts
        )
        return LegReport(stage, answer, rerank_failure=rerank_failure)

    async def _search(
        self, query: SearchQuery, reranker: TimedReranker | None, deadline: Deadline
    ) -> IndexResponse:
        index_query, inline = self._index_query(query), None
        if query.rerank == "per-leg" and reranker is not None and self.index.supports_rerank:
            index_query = replace(index_query, top_k=min(index_query.top_k, reranker.max_documents))
            inline = InlineRerank(reranker.model, self.text_field)
        return await self.index.search(index_query, inline, deadline.remaining())

    async def _rerank_hits(
        self, answer: IndexResponse, query: SearchQuery, reranker: TimedReranker, deadline: Deadline
    ) -> tuple[IndexResponse, StageReceipt | None]:
        """The reranked answer; if that fails, the answer unchanged and the failed stage."""
        watch = Stopwatch()
        try:
            hits, ranking = await reranker.rank(query.text, answer.hits, self.text_field, deadline)
        except RequestError as exc:
            return answer, failed_stage("rerank", watch, exc, FUSED)
        usage = {**answer.usage, "rerank_units": ranking.units}
        return replace(answer, hits=hits, usage=usage), None

    def _index_query(self, query: SearchQuery) -> IndexQuery:
        fields = query.fields
        if fields is None:
            fields = (self.text_field,)
        elif fields == ALL_FIELDS:
            fields = None
        elif self.text_field not in fields and (query.rerank != "none" or query.highlight):
            fields = (*fields, self.text_field)  # the reranker reads it, or the highlighter
        return IndexQuery(
            query.text,
            self.hits_to_request(query),
            query.namespace,
            query.filter,
            fields,
            query.match_terms,
            query.typos,
        )
