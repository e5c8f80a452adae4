"""One of the three searches, as all of its faces have it: what is asked, and what is answered.

JSON, server-sent events and WebSockets go through here, so that each of them gives the same results
in the same words. Knows nothing of any one request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.caching.answer_cache import (
    Answer,
    AnswerCache,
    AnswerSubscription,
    ComputeAnswer,
    ComputedAnswer,
)
from service.caching.single_flight import Publish
from service.retrieval.deadline import Deadline
from service.retrieval.query import Event, Explanations, Mode, Query, RerankMode, Result
from service.retrieval.receipt import Receipt, Stopwatch
from service.settings import Settings
from service.web.search.caching import CacheDirectives
from service.web.search.cursors import Cursors, Ranking
from service.web.search.parsing import ParsedSearch, RequestParser, SupportsSearch
from service.web.search.rendering import kept_receipt, payload_of, receipt_of, results_of

Found = Answer[Receipt]


class SearchService:
    """First pages are searched for; later ones are in `cursors`.

    `rerank` is how it reranks where a request is silent on that.
    """

    def __init__(
        self,
        mode: Mode,
        rerank: RerankMode,
        settings: Settings,
        searches: SupportsSearch,
        answers: AnswerCache[Event, Receipt],
        cursors: Cursors,
    ) -> None:
        self.mode = mode
        self.asking = RequestParser(mode, rerank, settings, searches)
        self.cursors = cursors
        self._text_field = settings.pinecone_text_field
        self._searches = searches
        self._answers = answers

    async def answer(
        self, asked: ParsedSearch, tenant: str, deadline: Deadline, wish: CacheDirectives
    ) -> Found:
        """The first page."""
        self.asking.check(asked)
        make = self._make(asked.query, tenant, deadline, wish)
        key = asked.key + tenant
        return await self._answers.get(asked.query.namespace, key, make, fresh=wish.fresh)

    def follow(
        self, asked: ParsedSearch, tenant: str, deadline: Deadline, wish: CacheDirectives
    ) -> AnswerSubscription[Event, Receipt]:
        """The same with all that leads to it, to be closed by whoever follows."""
        self.asking.check(asked)
        make = self._make(asked.query, tenant, deadline, wish)
        key = asked.key + tenant
        return self._answers.subscribe(asked.query.namespace, key, make, fresh=wish.fresh)

    def results(self, query: Query, found: Sequence[Result]) -> list[dict[str, Any]]:
        """Results as they are in an answer, without explanations."""
        highlighter = self._searches.highlighter if query.highlight else None
        cascading = self.mode == "cascading"
        return results_of(found, query, self._text_field, highlighter, cascading)

    def payload(
        self,
        query: Query,
        found: Sequence[Result],
        explanations: Explanations | None,
        degraded: bool,
        cursor: str | None,
    ) -> bytes:
        """All of an answer that is the same for all who ask: everything but the receipt."""
        return payload_of(self.results(query, found), found, explanations, degraded, cursor)

    def _make(
        self, query: Query, tenant: str, deadline: Deadline, wish: CacheDirectives
    ) -> ComputeAnswer[Event, Receipt]:
        """The search, to run as a task for all who ask the same."""

        async def make(publish: Publish[Event]) -> ComputedAnswer[Receipt]:
            async for event in self._searches.search(self.mode, query, deadline):
                if event.stage != "done":
                    publish(event)
            results, receipt, explanations = event.results, event.receipt, event.explanations
            beyond = Ranking(query, receipt.missing, results[query.top_k :], explanations)
            cursor = self.cursors.freeze(self.mode, tenant, beyond)
            first = results[: query.top_k]
            payload = self.payload(query, first, explanations, receipt.degraded, cursor)
            return ComputedAnswer(payload, wish.may_keep and not receipt.degraded, receipt)

        return make


def receipt_for(found: Found, watch: Stopwatch) -> dict[str, Any]:
    """What is said of how it was found, to somebody who asked when the watch was started."""
    if found.receipt is None:
        return kept_receipt(watch.ms, found.source, age_ms=found.age_s * 1000)
    return receipt_of(found.receipt, found.source)
