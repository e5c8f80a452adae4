"""The search service behind every protocol.

JSON, server-sent events and WebSockets search through here, so that they share answers, and return
the same results in the same words:

    SearchRequest → RequestParser → ParsedSearch → SearchService → Answer → the view of a protocol
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from service.access.limiting.account import UNLIMITED, Account
from service.backends.search_backend import SearchBackend
from service.caching.answer_cache import (
    AnswerCache,
    AnswerSubscription,
    ComputeAnswer,
    ComputedAnswer,
)
from service.caching.single_flight import Publish
from service.errors import DeadlineExceeded
from service.retrieval.deadline import Deadline
from service.retrieval.query import Mode, RankedRecord, SearchQuery, Spans, StageEvent
from service.retrieval.receipt import Receipt, StageReceipt, Stopwatch, failed_stage
from service.web.metrics.metrics import Metrics
from service.web.search.caching import CacheDirectives
from service.web.search.charging import count_read_units
from service.web.search.cursors import Cursors, Ranking
from service.web.search.highlighting import STAGE, ResultHighlighter
from service.web.search.parsing import ParsedSearch
from service.web.search.rendering import AnswerRenderer, SearchAnswer
from service.web.validation import invalid_field

NO_RECORDS = "namespace {namespace} has no records; /api/namespaces lists those that have some"


class LaterPage(NamedTuple):
    """A page of a ranking, the stages that are missing from it, and the query of the ranking."""

    payload: bytes
    missing: list[str]
    query: SearchQuery


class SearchService:
    def __init__(
        self,
        backend: SearchBackend,
        renderer: AnswerRenderer,
        highlighter: ResultHighlighter,
        answers: AnswerCache[StageEvent, Receipt],
        cursors: Cursors,
        metrics: Metrics,
    ) -> None:
        self.renderer = renderer
        self._highlighter = highlighter
        self._backend = backend
        self._answers = answers
        self._cursors = cursors
        self._metrics = metrics

    async def search(
        self,
        search: ParsedSearch,
        deadline: Deadline,
        directives: CacheDirectives,
        account: Account = UNLIMITED,
    ) -> SearchAnswer:
        """Return the first page, from the cache or from a search."""
        self.check_support(search)
        compute = self._compute(search, deadline, directives, account)
        return await self._answers.get(
            search.query.namespace, search.cache_key, compute, fresh=directives.fresh
        )

    def subscribe(
        self,
        search: ParsedSearch,
        deadline: Deadline,
        directives: CacheDirectives,
        account: Account = UNLIMITED,
    ) -> AnswerSubscription[StageEvent, Receipt]:
        """Like `search`, with the events of the search before the answer. Close the result."""
        self.check_support(search)
        compute = self._compute(search, deadline, directives, account)
        return self._answers.subscribe(
            search.query.namespace, search.cache_key, compute, fresh=directives.fresh
        )

    async def later_page(self, search: ParsedSearch, deadline: Deadline) -> LaterPage:
        """Return the page at the cursor of the request, from a stored ranking."""
        request, mode = search.request, search.mode
        page = await self._cursors.load(mode, search.tenant, request.cursor or "")
        ranking = page.ranking
        query = ranking.query
        if request.has_search_options and replace(search.query, top_k=query.top_k) != query:
            raise invalid_field(
                "cursor",
                "belongs to another search; send it alone, or with the parameters of that search",
            )
        top_k = request.top_k or query.top_k
        results, cursor = page.results(top_k), page.next_cursor(top_k)
        highlights, late = await self._highlight(query, results, deadline)
        payload = self.renderer.payload(mode, ranking, results, cursor, highlights)
        return LaterPage(payload, [*ranking.missing, *([late.stage] if late else [])], query)

    async def progress(
        self, search: ParsedSearch, event: StageEvent, deadline: Deadline
    ) -> list[dict[str, Any]]:
        """Render the first page of an event; without highlights if they are late."""
        query, results = search.query, event.results[: search.query.top_k]
        highlights, _ = await self._highlight(query, results, deadline)
        return self.renderer.results(search.mode, query, results, highlights)

    def check_support(self, search: ParsedSearch) -> None:
        """Raise `InvalidRequest` for an option that the mode or the backend does not support."""
        self._check_rerank(search.query)
        self._check_word_options(search.mode, search.query)
        self._check_fusion_options(search)

    def _compute(
        self,
        search: ParsedSearch,
        deadline: Deadline,
        directives: CacheDirectives,
        account: Account,
    ) -> ComputeAnswer[StageEvent, Receipt]:
        mode, query = search.mode, search.query

        async def compute(publish: Publish[StageEvent]) -> ComputedAnswer[Receipt]:
            with self._metrics.measured_search(mode) as receipt:
                try:
                    async for event in self._backend.search(mode, query, deadline, receipt):
                        if event.stage != "done":
                            publish(event)
                finally:
                    count_read_units(account, receipt)
                first, rest = event.results[: query.top_k], event.results[query.top_k :]
                ranking = Ranking(query, event.receipt.missing, rest, event.explanations)
                if not event.results and self._backend.is_empty(query.namespace):
                    event.receipt.note = NO_RECORDS.format(namespace=query.namespace)
                cursor = self._cursors.store(mode, search.tenant, ranking)
                highlights, late = await self._highlight(query, first, deadline)
                if late is not None:
                    event.receipt.add(late)
                payload = self.renderer.payload(mode, ranking, first, cursor, highlights)
                is_complete = not event.receipt.missing and event.receipt.note is None
                is_cacheable = directives.may_store and is_complete
                return ComputedAnswer(payload, is_cacheable, event.receipt)

        return compute

    async def _highlight(
        self, query: SearchQuery, results: Sequence[RankedRecord], deadline: Deadline
    ) -> tuple[list[Spans] | None, StageReceipt | None]:
        """The highlights if the query requests them, or the receipt of a stage that is late."""
        if not query.highlight:
            return None, None
        watch = Stopwatch()
        try:
            return await self._highlighter.highlight(query, results, deadline), None
        except DeadlineExceeded as exc:
            return None, failed_stage(STAGE, watch, exc, fallback=None)

    def _check_rerank(self, query: SearchQuery) -> None:
        if query.rerank == "none":
            return
        limit = self._backend.max_reranked
        if not limit:
            raise invalid_field("rerank", "must be none, because no rerank model is configured")
        if query.top_k > limit:
            raise invalid_field("top_k", f"must be at most {limit}, unless rerank=none")

    def _check_word_options(self, mode: Mode, query: SearchQuery) -> None:
        embedded_only = "is supported only by lexical and cascading search on the embedded engine"
        if query.match_terms and mode != "lexical":
            raise invalid_field("match_terms", "is supported only by lexical search")
        if query.typos and (mode == "semantic" or not self._backend.supports_typos):
            raise invalid_field("typos", embedded_only)
        if query.highlight and (mode == "semantic" or self._backend.highlighter is None):
            raise invalid_field("highlight", embedded_only)

    def _check_fusion_options(self, search: ParsedSearch) -> None:
        for name in ("fusion", "lexical_weight"):
            if getattr(search.request, name) is None:
                continue
            if search.mode != "cascading":
                raise invalid_field(name, "is supported only by cascading retrieval")
            if search.request.rerank == "per-leg":
                raise invalid_field(
                    name,
                    "is not allowed with rerank=per-leg, which makes the scores of the legs "
                    "comparable",
                )
