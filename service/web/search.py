"""The three searches over HTTP, each by GET and by POST."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple, Protocol

from quart import Blueprint, Request, Response, g
from quart.globals import request_ctx
from quart_schema import (
    document_querystring,
    document_request,
    document_response,
    operation_id,
    tag,
)

from service.caching.answers import Answers, Made, tag_of
from service.errors import FieldFault, InvalidRequest
from service.retrieval.deadline import Deadline
from service.retrieval.query import (
    Event,
    Explanations,
    Highlighter,
    Mode,
    Query,
    RerankMode,
    Result,
)
from service.retrieval.receipt import Receipt, Stopwatch
from service.settings import Settings
from service.web.cache_keys import CacheKeys
from service.web.cursors import Cursors, Ranking
from service.web.freshness import answer_response, wish_of
from service.web.reading import Raw, read_raw, read_search
from service.web.schemas import (
    AnswerHeaders,
    ErrorAnswer,
    NotModified,
    SearchAnswer,
    SearchParameters,
    SearchRequest,
)
from service.web.writing import kept_receipt, payload_of, receipt_of

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
REMEMBERED = 512  # requests that were understood, in each of the three searches
REMEMBERED_BYTES = 1_024  # of a request, at most


class Searches(Protocol):
    """What this face needs to have behind it."""

    @property
    def max_reranked(self) -> int:
        """How many results a rerank can bring into order; 0 where nothing can be reranked."""
        ...

    @property
    def forgives_typos(self) -> bool:
        """Whether the lexical leg can let words pass that are off by a letter."""
        ...

    @property
    def highlighter(self) -> Highlighter | None:
        """What finds a query's words in a text, if anything does."""
        ...

    @property
    def reranks_unasked(self) -> bool: ...

    def search(self, mode: Mode, query: Query, deadline: Deadline) -> AsyncIterator[Event]: ...


def search_blueprint(
    settings: Settings, searches: Searches, answers: Answers[Receipt], cursors: Cursors
) -> Blueprint:
    """The routes of the three searches."""
    blueprint = Blueprint("search", __name__)
    keys = CacheKeys(settings)
    for mode, (path, rerank) in PATHS.items():
        face = Face(mode, rerank, settings, searches, answers, cursors, keys)
        get = document_querystring(SearchParameters)(_documented(face))
        get = document_response(NotModified, 304, AnswerHeaders)(get)
        post = document_request(SearchRequest)(_documented(face))
        for status in (408, 413, 415):
            post = document_response(ErrorAnswer, status)(post)
        blueprint.get(path, endpoint=f"{mode}_get")(get)
        blueprint.post(path, endpoint=f"{mode}_post")(post)
    return blueprint


class Asked(NamedTuple):
    """What a request asks for, and a key that everything has in common which asks for the same."""

    search: SearchRequest
    query: Query
    timeout_ms: int
    key: str


class Face:
    """One of the three searches over HTTP: first pages, and those that cursors lead to.

    `rerank` is how it reranks where a request is silent on that.
    """

    def __init__(
        self,
        mode: Mode,
        rerank: RerankMode,
        settings: Settings,
        searches: Searches,
        answers: Answers[Receipt],
        cursors: Cursors,
        keys: CacheKeys,
    ) -> None:
        self.mode = mode
        self._rerank: RerankMode = rerank if searches.reranks_unasked else "none"
        self._settings = settings
        self._searches = searches
        self._answers = answers
        self._cursors = cursors
        self._keys = keys
        self._remembered = lru_cache(REMEMBERED)(self._understood)

    async def answer(self, request: Request, tenant: str) -> Response:
        watch = Stopwatch()
        raw = await read_raw(request)
        small = len(raw.text) <= REMEMBERED_BYTES
        asked = self._remembered(raw) if small else self._understood(raw)
        if asked.search.cursor:
            return await self._next_page(request, asked, tenant, watch)
        return await self._first_page(request, asked, tenant, watch)

    def _understood(self, raw: Raw) -> Asked:
        """Takes as long as all the rest that a kept answer takes, so it is remembered."""
        search = read_search(raw)
        query = search.to_query(
            top_k=self._settings.pinecone_top_k,
            namespace=self._settings.pinecone_namespace,
            rerank=self._rerank,
            fusion=self._settings.search_fusion,
            lexical_weight=self._settings.search_lexical_weight,
            depth=self._settings.search_depth,
        )
        timeout_ms = search.timeout_ms or self._settings.search_timeout_ms
        if timeout_ms > self._settings.search_timeout_max_ms:
            raise _invalid("timeout_ms", f"must be at most {self._settings.search_timeout_max_ms}")
        return Asked(search, query, timeout_ms, self._keys.key(self.mode, query, timeout_ms))

    async def _first_page(
        self, request: Request, asked: Asked, tenant: str, watch: Stopwatch
    ) -> Response:
        _, query, timeout_ms, key = asked
        _check_rerank(query, self._searches.max_reranked)
        _check_words(query, self.mode, self._searches)
        _check_fusion(asked.search, self.mode)
        wish = wish_of(request)
        deadline = Deadline(timeout_ms / 1000, spent=g.queued)

        async def search() -> Made[Receipt]:
            made = await self._search(query, deadline, tenant)
            return made if wish.may_keep else made._replace(keep=False)

        found = await self._answers.get(query.namespace, key + tenant, search, fresh=wish.fresh)
        if found.receipt is None:
            receipt = kept_receipt(watch.ms, found.source, age_ms=found.age_s * 1000)
        else:
            receipt = receipt_of(found.receipt, found.source)
            g.receipt = found.receipt
        return answer_response(request, tenant, found.payload, found.tag, receipt)

    async def _search(self, query: Query, deadline: Deadline, tenant: str) -> Made[Receipt]:
        """Runs as a task for all who ask the same, so it knows nothing of any one request."""
        async for event in self._searches.search(self.mode, query, deadline):
            results, receipt, explanations = event.results, event.receipt, event.explanations
        beyond = Ranking(query, receipt.missing, results[query.top_k :], explanations)
        cursor = self._cursors.freeze(self.mode, tenant, beyond)
        first = results[: query.top_k]
        payload = self._payload(query, first, explanations, receipt.degraded, cursor)
        return Made(payload, not receipt.degraded, receipt)

    async def _next_page(
        self, request: Request, asked: Asked, tenant: str, watch: Stopwatch
    ) -> Response:
        page = await self._cursors.follow(self.mode, tenant, asked.search.cursor or "")
        query = page.ranking.query
        if asked.search.asks_anything and replace(asked.query, top_k=query.top_k) != query:
            raise _invalid("cursor", "is of another search; send it alone, or with what it had")
        top_k = asked.search.top_k or query.top_k
        missing, explanations = page.ranking.missing, page.ranking.explanations
        payload = self._payload(
            query, page.results(top_k), explanations, bool(missing), page.next(top_k)
        )
        receipt = kept_receipt(watch.ms, "frozen", missing=missing)
        return answer_response(request, tenant, payload, tag_of(payload), receipt)

    def _payload(
        self,
        query: Query,
        results: Sequence[Result],
        explanations: Explanations | None,
        degraded: bool,
        cursor: str | None,
    ) -> bytes:
        return payload_of(
            results,
            explanations,
            query,
            self._settings.pinecone_text_field,
            self._searches.highlighter if query.highlight else None,
            cascading=self.mode == "cascading",
            degraded=degraded,
            cursor=cursor,
        )


View = Callable[[], Awaitable[Response]]


def _documented(face: Face) -> View:
    """A function of its own for each method: the documentation is kept on the function."""

    async def view() -> Response:
        return await face.answer(request_ctx.request, g.get("tenant", ""))

    view.__doc__ = SUMMARIES[face.mode]
    documented: View = tag(["search"])(operation_id(f"{face.mode}_search")(view))
    documented = document_response(SearchAnswer, 200, AnswerHeaders)(documented)
    for status in (400, 401, 410, 422, 500, 502, 503, 504):
        documented = document_response(ErrorAnswer, status)(documented)
    return documented


def _check_rerank(query: Query, limit: int) -> None:
    if query.rerank == "none":
        return
    if not limit:
        raise _invalid("rerank", "must be none: there is no rerank model here")
    if query.top_k > limit:
        raise _invalid("top_k", f"must be at most {limit}, or rerank must be none")


def _check_words(query: Query, mode: Mode, searches: Searches) -> None:
    """What is about words can't be asked of meaning, nor of an index that doesn't know how."""
    if query.match_terms and mode != "lexical":
        raise _invalid("match_terms", "is for lexical search: meaning has no terms to match")
    if query.typos and (mode == "semantic" or not searches.forgives_typos):
        raise _invalid(
            "typos", "is for lexical and cascading search, where the engine is the embedded one"
        )
    if query.highlight and (mode == "semantic" or searches.highlighter is None):
        raise _invalid(
            "highlight", "is for lexical and cascading search, where the engine is the embedded one"
        )


def _check_fusion(asked: SearchRequest, mode: Mode) -> None:
    """Only a cascade has several legs, and what one reranker scored is compared as it is."""
    for name in ("fusion", "lexical_weight"):
        if getattr(asked, name) is None:
            continue
        if mode != "cascading":
            raise _invalid(name, "is for cascading retrieval: one leg alone is not fused")
        if asked.rerank == "per-leg":
            raise _invalid(
                name, "can't go with rerank=per-leg, where the best score of a record counts"
            )


def _invalid(name: str, msg: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {msg}", faults=[FieldFault((name,), msg)])
