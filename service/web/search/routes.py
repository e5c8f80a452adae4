"""The three searches over HTTP, each by GET and by POST."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from quart import Blueprint, Request, Response, g
from quart.globals import request_ctx
from quart_schema import (
    document_querystring,
    document_request,
    document_response,
    operation_id,
    tag,
)

from service.caching.answer_cache import AnswerCache, payload_tag
from service.retrieval.deadline import Deadline
from service.retrieval.query import Event, Mode, RerankMode
from service.retrieval.receipt import Receipt, Stopwatch
from service.settings import Settings
from service.web.errors import ErrorResponse
from service.web.search.caching import cache_directives, search_response
from service.web.search.cursors import Cursors
from service.web.search.parsing import ParsedSearch, SupportsSearch, at
from service.web.search.reading import read_raw
from service.web.search.rendering import kept_receipt
from service.web.search.request_schemas import SearchParameters, SearchRequest
from service.web.search.response_schemas import NotModified, SearchHeaders, SearchResponse
from service.web.search.service import SearchService, receipt_for

PATHS: dict[Mode, tuple[str, RerankMode]] = {
    "semantic": ("/api/semantic-search", "none"),
    "lexical": ("/api/lexical-search", "none"),
    "cascading": ("/api/cascading-retrieval", "union"),
}
SUMMARIES: dict[Mode, str] = {
    "semantic": "Search by meaning, with the dense index.",
    "lexical": "Search by words, with the sparse index.",
    "cascading": "Search with both at once: deduplicated, fused and reranked.",
}
ERRORS = (400, 401, 410, 422, 500, 502, 503, 504)
OF_BODIES = (408, 413, 415)

View = Callable[[], Awaitable[Response]]


def searchings_of(
    settings: Settings,
    searches: SupportsSearch,
    answers: AnswerCache[Event, Receipt],
    cursors: Cursors,
) -> dict[Mode, SearchService]:
    """The three searches, for all of their faces."""
    return {
        mode: SearchService(mode, rerank, settings, searches, answers, cursors)
        for mode, (_, rerank) in PATHS.items()
    }


def search_blueprint(searchings: Mapping[Mode, SearchService]) -> Blueprint:
    """The routes of the three searches."""
    blueprint = Blueprint("search", __name__)
    for mode, (path, _) in PATHS.items():
        face = SearchView(searchings[mode])
        get = document_querystring(SearchParameters)(_documented(face))
        get = document_response(NotModified, 304, SearchHeaders)(get)
        post = document_request(SearchRequest)(_documented(face))
        for status in OF_BODIES:
            post = document_response(ErrorResponse, status)(post)
        blueprint.get(path, endpoint=f"{mode}_get")(get)
        blueprint.post(path, endpoint=f"{mode}_post")(post)
    return blueprint


class SearchView:
    """One of the three searches over HTTP: first pages, and those that cursors lead to."""

    def __init__(self, searching: SearchService) -> None:
        self.mode = searching.mode
        self._searching = searching

    async def answer(self, request: Request, tenant: str) -> Response:
        watch = Stopwatch()
        asked = self._searching.asking.read(await read_raw(request))
        if asked.search.cursor:
            return await self._next_page(request, asked, tenant, watch)
        return await self._first_page(request, asked, tenant, watch)

    async def _first_page(
        self, request: Request, asked: ParsedSearch, tenant: str, watch: Stopwatch
    ) -> Response:
        deadline = Deadline(asked.timeout_ms / 1000, spent=g.queued)
        found = await self._searching.answer(asked, tenant, deadline, cache_directives(request))
        if found.receipt is not None:
            g.receipt = found.receipt
        receipt = receipt_for(found, watch)
        return search_response(request, tenant, found.payload, found.tag, receipt)

    async def _next_page(
        self, request: Request, asked: ParsedSearch, tenant: str, watch: Stopwatch
    ) -> Response:
        page = await self._searching.cursors.follow(self.mode, tenant, asked.search.cursor or "")
        query = page.ranking.query
        if asked.search.asks_anything and replace(asked.query, top_k=query.top_k) != query:
            raise at("cursor", "is of another search; send it alone, or with what it had")
        top_k = asked.search.top_k or query.top_k
        missing, explanations = page.ranking.missing, page.ranking.explanations
        payload = self._searching.payload(
            query, page.results(top_k), explanations, bool(missing), page.next(top_k)
        )
        receipt = kept_receipt(watch.ms, "frozen", missing=missing)
        return search_response(request, tenant, payload, payload_tag(payload), receipt)


def _documented(face: SearchView) -> View:
    """A function of its own for each method: the documentation is kept on the function."""

    async def view() -> Response:
        return await face.answer(request_ctx.request, g.get("tenant", ""))

    view.__doc__ = SUMMARIES[face.mode]
    documented: View = tag(["search"])(operation_id(f"{face.mode}_search")(view))
    documented = document_response(SearchResponse, 200, SearchHeaders)(documented)
    for status in ERRORS:
        documented = document_response(ErrorResponse, status)(documented)
    return documented
