"""The three searches over HTTP, each by GET and by POST.

A request goes through here from top to bottom: receive, parse, search, respond.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from quart import Blueprint, Request, Response, g, request

from service.access.grant import Grant
from service.caching.answer_cache import payload_tag
from service.retrieval.deadline import Deadline
from service.retrieval.query import Mode
from service.retrieval.receipt import Stopwatch
from service.web.access_log import note_query
from service.web.authentication import requires
from service.web.openapi.operation import documented
from service.web.request_context import unwrap
from service.web.search.caching import cache_directives, search_response
from service.web.search.charging import CACHED, give_back_if_cached
from service.web.search.parsing import ParsedSearch, RequestParser, receive_search
from service.web.search.rendering import answer_receipt, cached_receipt
from service.web.search.request_schemas import SearchRequest
from service.web.search.response_schemas import NotModified, SearchHeaders, SearchResponse
from service.web.search.service import SearchService

PATHS: dict[Mode, str] = {
    "semantic": "/api/semantic-search",
    "lexical": "/api/lexical-search",
    "cascading": "/api/cascading-retrieval",
}
SUMMARIES: dict[Mode, str] = {
    "semantic": "Search by meaning, in the dense index.",
    "lexical": "Search by words, in the sparse index.",
    "cascading": "Search by meaning and by words, fuse the results and rerank them.",
}
ERRORS = (400, 401, 410, 413, 422, 500, 502, 503, 504)

View = Callable[[], Awaitable[Response]]


def search_blueprint(parser: RequestParser, service: SearchService) -> Blueprint:
    blueprint = Blueprint("search", __name__)
    for mode, path in PATHS.items():
        document = documented(
            "search",
            f"{mode}_search",
            {200: SearchResponse, 304: NotModified},
            ERRORS,
            parameters=SearchRequest,
            headers=SearchHeaders,
        )
        view = make_view(SearchView(mode, parser, service).respond, SUMMARIES[mode])
        blueprint.route(path, methods=["GET", "POST"], endpoint=mode)(document(view))
    return blueprint


def make_view(respond: Callable[[Request, Grant], Awaitable[Response]], summary: str) -> View:
    """A view of `respond`, which takes the request and its grant."""

    @requires("search")
    async def view() -> Response:
        return await respond(unwrap(request), g.grant)

    view.__doc__ = summary
    return view


class SearchView:
    """The JSON view of one of the three searches."""

    def __init__(self, mode: Mode, parser: RequestParser, service: SearchService) -> None:
        self.mode = mode
        self._parser = parser
        self._service = service

    async def respond(self, request: Request, grant: Grant) -> Response:
        watch = Stopwatch()
        search = self._parser.parse(await receive_search(self.mode, request), grant)
        deadline = Deadline(search.timeout_ms / 1000, spent=g.queue_s)
        if search.request.cursor:
            return await self._later_page(request, search, deadline, watch)
        note_query(search.query)
        answer = await self._service.search(search, deadline, cache_directives(request), g.account)
        if answer.receipt is not None:
            g.receipt = answer.receipt  # for Server-Timing
        receipt = answer_receipt(answer, watch)
        give_back_if_cached(g.account, answer)
        return search_response(request, search.tenant, answer.payload, answer.tag, receipt)

    async def _later_page(
        self,
        request: Request,
        search: ParsedSearch,
        deadline: Deadline,
        watch: Stopwatch,
    ) -> Response:
        page = await self._service.later_page(search, deadline)
        g.account.add(CACHED)
        note_query(page.query)
        receipt = cached_receipt(watch.ms, "frozen", missing=page.missing)
        tag = payload_tag(page.payload)
        return search_response(request, search.tenant, page.payload, tag, receipt)
