"""Legs and reranking with spans, in the place of those without where tracing is on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.indexes.queries import IndexResponse
from service.inference.reranker import Reranker, RerankResult
from service.retrieval.deadline import Deadline
from service.retrieval.legs import Leg, LegReport
from service.retrieval.query import SearchQuery
from service.retrieval.rerank import ScoredT, TimedReranker

if TYPE_CHECKING:
    from service.tracing.spans import Tracing


@dataclass(frozen=True, slots=True)
class TracedLeg(Leg):
    """A leg of which each search is a span."""

    tracing: Tracing = field(kw_only=True)

    async def search(
        self,
        query: SearchQuery,
        reranker: TimedReranker | None,
        deadline: Deadline,
        fallback: str | None,
    ) -> LegReport:
        attributes = {
            "cascade.index": self.index.name,
            "cascade.namespace": query.namespace,
            "cascade.requested": self.hits_to_request(query),
        }
        with self.tracing.span(f"leg {self.name}", attributes) as span:
            report = await Leg.search(self, query, reranker, deadline, fallback)
            span.set_attribute("cascade.attempts", report.stage.attempts)
            if report.error is not None:
                self.tracing.fail(span, report.error)
            elif report.answer is not None:
                span.set_attributes(_found(report.answer))
            return report


def traced_leg(leg: Leg, tracing: Tracing) -> Leg:
    return TracedLeg(
        leg.name, leg.index, leg.text_field, leg.weight, leg.candidates, tracing=tracing
    )


class TracedReranker(TimedReranker):
    """A reranker of which each call is a span."""

    def __init__(self, reranker: Reranker, tracing: Tracing) -> None:
        super().__init__(reranker)
        self._tracing = tracing

    async def rank(
        self, query: str, found: Sequence[ScoredT], text_field: str, deadline: Deadline
    ) -> tuple[list[ScoredT], RerankResult]:
        attributes = {"cascade.model": self.model, "cascade.candidates": len(found)}
        with self._tracing.span("rerank", attributes) as span:
            reranked, result = await super().rank(query, found, text_field, deadline)
            span.set_attributes(
                {"cascade.rerank_units": result.units, "cascade.attempts": result.tries}
            )
            return reranked, result


def _found(answer: IndexResponse) -> dict[str, int]:
    usage = {f"cascade.{name}": units for name, units in answer.usage.items()}
    return {"cascade.hits": len(answer.hits), **usage}
