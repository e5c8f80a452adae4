"""From a request to a `ParsedSearch`, for every protocol over which a search can come in."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from quart import Request

from service.access.grant import Grant
from service.errors import EmptyQuery, InvalidField, InvalidRequest
from service.retrieval.query import Mode, RerankMode, SearchQuery
from service.settings import Settings
from service.web.bodies import read_body
from service.web.parameters import convert_parameters
from service.web.search.caching import CacheKeys
from service.web.search.narrowing import narrow
from service.web.search.request_schemas import SearchRequest
from service.web.validation import invalid_field, validate

DEFAULT_RERANK: dict[Mode, RerankMode] = {
    "semantic": "none",
    "lexical": "none",
    "cascading": "union",
}
MEMOIZED_REQUESTS = 1_536
MAX_MEMOIZED_BYTES = 1_024  # of one request
EMPTY_QUERY = "Text query cannot be empty"


class RawSearch(NamedTuple):
    """A search as it was received: a JSON body, or the query string of a GET."""

    mode: Mode
    content: bytes
    is_json: bool


class ParsedSearch(NamedTuple):
    """A valid request, narrowed to what its caller may see.

    Requests with equal keys have equal answers.
    """

    mode: Mode
    request: SearchRequest
    query: SearchQuery
    timeout_ms: int
    cache_key: str
    tenant: str = ""


async def receive_search(mode: Mode, request: Request) -> RawSearch:
    if request.method != "POST":
        return RawSearch(mode, request.query_string, is_json=False)
    if request.query_string:
        raise InvalidRequest("A POST takes its parameters in the JSON body, not in the URL")
    return RawSearch(mode, await read_body(request, "the search"), is_json=True)


class RequestParser:
    """Parses searches, and fills in the service's settings.

    `reranks_by_default` is false where the only reranker is too slow to be used unasked.
    """

    def __init__(self, settings: Settings, *, reranks_by_default: bool) -> None:
        self._settings = settings
        self._reranks_by_default = reranks_by_default
        self._keys = CacheKeys(settings)
        self._parse_memoized = lru_cache(MEMOIZED_REQUESTS)(self._parse)

    def parse(self, raw: RawSearch, grant: Grant) -> ParsedSearch:
        """Memoized: parsing takes as long as everything else in answering from the cache."""
        if len(raw.content) <= MAX_MEMOIZED_BYTES:
            return self._narrow(self._parse_memoized(raw), grant)
        return self._narrow(self._parse(raw), grant)

    def resolve(self, mode: Mode, request: SearchRequest, grant: Grant) -> ParsedSearch:
        """Fill in the defaults, and check what depends on the settings and on the caller."""
        return self._narrow(self._resolve(mode, request), grant)

    def _narrow(self, search: ParsedSearch, grant: Grant) -> ParsedSearch:
        if not grant.tenant:
            return search
        key = search.cache_key + grant.tenant
        search = search._replace(tenant=grant.tenant, cache_key=key)
        if search.request.cursor and not search.request.has_search_options:
            return search  # the ranking of the cursor is of a narrowed query of this tenant
        text_field = self._settings.pinecone_text_field
        return search._replace(query=narrow(search.query, grant, text_field))

    def _resolve(self, mode: Mode, request: SearchRequest) -> ParsedSearch:
        settings = self._settings
        rerank = DEFAULT_RERANK[mode] if self._reranks_by_default else "none"
        query = request.to_query(settings, rerank)
        timeout_ms = request.timeout_ms or settings.search_timeout_ms
        if timeout_ms > settings.search_timeout_max_ms:
            raise invalid_field("timeout_ms", f"must be at most {settings.search_timeout_max_ms}")
        return ParsedSearch(
            mode, request, query, timeout_ms, self._keys.key(mode, query, timeout_ms)
        )

    def _parse(self, raw: RawSearch) -> ParsedSearch:
        data = raw.content if raw.is_json else convert_parameters(SearchRequest, raw.content)
        return self._resolve(raw.mode, require_text(validate(SearchRequest, data)))


def require_text(request: SearchRequest) -> SearchRequest:
    """Raise `EmptyQuery` for a request that has neither a text nor a cursor."""
    if not request.cursor and not request.text_query.strip():
        field = InvalidField(("text_query",), "must not be empty")
        raise EmptyQuery(EMPTY_QUERY, invalid_fields=[field])
    return request
