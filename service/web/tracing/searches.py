"""The search service with a span for each search that is computed.

Requests that share a computation have one span of a search between them, in the trace of the first
one. The spans of the other requests are linked to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from service.access.limiting.account import UNLIMITED, Account
from service.caching.answer_cache import (
    Answer,
    AnswerSubscription,
    ComputeAnswer,
    ComputedAnswer,
)
from service.caching.single_flight import Publish
from service.retrieval.deadline import Deadline
from service.retrieval.query import StageEvent
from service.retrieval.receipt import Receipt
from service.web.search.caching import CacheDirectives
from service.web.search.parsing import ParsedSearch
from service.web.search.rendering import SearchAnswer
from service.web.search.service import SearchService

if TYPE_CHECKING:
    from service.tracing.spans import Tracing


class TracedSearchService(SearchService):
    def __init__(self, *args: Any, tracing: Tracing, log_queries: bool) -> None:
        super().__init__(*args)
        self._tracing = tracing
        self._log_queries = log_queries

    async def search(
        self,
        search: ParsedSearch,
        deadline: Deadline,
        directives: CacheDirectives,
        account: Account = UNLIMITED,
    ) -> SearchAnswer:
        answer = await super().search(search, deadline, directives, account)
        self._note_source(answer)
        return answer

    def subscribe(
        self,
        search: ParsedSearch,
        deadline: Deadline,
        directives: CacheDirectives,
        account: Account = UNLIMITED,
    ) -> AnswerSubscription[StageEvent, Receipt]:
        subscription = super().subscribe(search, deadline, directives, account)
        return _TracedSubscription(subscription, self._note_source)

    def _compute(
        self,
        search: ParsedSearch,
        deadline: Deadline,
        directives: CacheDirectives,
        account: Account,
    ) -> ComputeAnswer[StageEvent, Receipt]:
        compute = super()._compute(search, deadline, directives, account)
        attributes = {
            "cascade.mode": search.mode,
            "cascade.namespace": search.query.namespace,
            "cascade.top_k": search.query.top_k,
            "cascade.query": search.query.text if self._log_queries else None,
        }

        async def traced(publish: Publish[StageEvent]) -> ComputedAnswer[Receipt]:
            with self._tracing.span(f"search {search.mode}", attributes) as span:
                answer = await compute(publish)
                answer.receipt.span_context = span.get_span_context()
                span.set_attribute("cascade.missing", answer.receipt.missing)
                return answer

        return traced

    def _note_source(self, answer: SearchAnswer) -> None:
        """Say in the span of the request where its answer is from."""
        span = self._tracing.current_span()
        span.set_attribute("cascade.cache", answer.source)
        if answer.source == "shared" and answer.receipt is not None:
            span.add_link(answer.receipt.span_context)


class _TracedSubscription(AnswerSubscription[StageEvent, Receipt]):
    """Iterates over another subscription, and calls `on_answer` with the answer at its end."""

    def __init__(
        self,
        inner: AnswerSubscription[StageEvent, Receipt],
        on_answer: Callable[[SearchAnswer], None],
    ) -> None:
        self._inner = inner
        self._on_answer = on_answer

    async def __anext__(self) -> StageEvent | SearchAnswer:
        item = await anext(self._inner)
        if isinstance(item, Answer):
            self._on_answer(item)
        return item

    def close(self) -> None:
        self._inner.close()
