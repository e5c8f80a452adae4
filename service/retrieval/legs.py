"""A leg: one index, asked in its dialect, one way of looking for records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from service.errors import RequestError
from service.indexes.dialect import Answer, Dialect, Question, Rerank
from service.indexes.port import AsyncIndexPort
from service.indexes.reads import Asked, Reads
from service.retrieval.deadline import Deadline
from service.retrieval.query import ALL_FIELDS, Query
from service.retrieval.receipt import StageReceipt, Stopwatch, failed
from service.retrieval.rerank import Reranking


class LegReport(NamedTuple):
    """How a leg ended: an answer, or the error that it ended in."""

    stage: StageReceipt
    answer: Answer | None = None
    error: RequestError | None = None


@dataclass(frozen=True, slots=True)
class Leg:
    """`name` is how answers call it: `semantic` or `lexical`.

    `weight` is its share when it is fused with others; `candidates` is how many hits it asks for at
    least: what is fused is better judged among many, and what is beyond the first page is kept for
    the next.
    """

    name: str
    dialect: Dialect
    reads: Reads[AsyncIndexPort]
    text_field: str
    weight: float = 0.5
    candidates: int = 0

    def asks_for(self, query: Query) -> int:
        return max(query.top_k, self.candidates, query.depth)

    async def search(
        self, query: Query, reranker: Reranking | None, deadline: Deadline, fallback: str | None
    ) -> LegReport:
        """Search and report. A `RequestError` is reported too: the other leg may have an answer."""
        watch = Stopwatch()
        try:
            answer, tries = await self._ask(query, reranker, deadline)
        except RequestError as exc:
            return LegReport(failed(self.name, watch, exc, fallback), error=exc)
        stage = StageReceipt(
            self.name, "ok", watch.ms, len(answer.hits), answer.usage, attempts=tries
        )
        return LegReport(stage, answer)

    async def _ask(
        self, query: Query, reranker: Reranking | None, deadline: Deadline
    ) -> Asked[Answer]:
        per_leg = reranker if query.rerank == "per-leg" else None
        question, inside = self._question(query), None
        if per_leg is not None and self.dialect.reranks:
            question = replace(question, top_k=min(question.top_k, per_leg.max_documents))
            inside = Rerank(per_leg.model, self.text_field)
        asked = await self.reads.ask(
            lambda index: self.dialect.ask(index, question, inside), deadline.remaining()
        )
        if per_leg is None or self.dialect.reranks:
            return asked
        answer = asked.answer
        hits, ranking = await per_leg.rank(query.text, answer.hits, self.text_field)
        usage = {**answer.usage, "rerank_units": ranking.units}
        return Asked(replace(answer, hits=hits, usage=usage), asked.tries + ranking.tries)

    def _question(self, query: Query) -> Question:
        fields = query.fields
        if fields is None:
            fields = (self.text_field,)
        elif fields == ALL_FIELDS:
            fields = None
        elif self.text_field not in fields and (query.rerank != "none" or query.highlight):
            fields = (*fields, self.text_field)  # the reranker reads it, or the highlighter
        return Question(
            query.text,
            self.asks_for(query),
            query.namespace,
            query.filter,
            fields,
            query.match_terms,
            query.typos,
        )
