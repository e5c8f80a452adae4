"""The three searches over HTTP, each by GET and by POST."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Protocol

from quart import Blueprint, Response, g, request
from quart_schema import (
    document_querystring,
    document_request,
    document_response,
    operation_id,
    tag,
)

from service.errors import FieldFault, InvalidRequest, UpstreamGarbled
from service.retrieval.deadline import Deadline
from service.retrieval.query import Event, Highlighter, Mode, Query, RerankMode
from service.settings import Settings
from service.web.reading import read_search
from service.web.schemas import ErrorAnswer, SearchAnswer, SearchParameters, SearchRequest
from service.web.writing import answer, json_response

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


def search_blueprint(settings: Settings, searches: Searches) -> Blueprint:
    """The routes of the three searches."""
    blueprint = Blueprint("search", __name__)
    for mode, (path, rerank) in PATHS.items():
        view = _documented(_view(mode, rerank, settings, searches), mode)
        get = document_querystring(SearchParameters)(_copy(view))
        post = document_request(SearchRequest)(_copy(view))
        for status in (408, 413, 415):
            post = document_response(ErrorAnswer, status)(post)
        blueprint.get(path, endpoint=f"{mode}_get")(get)
        blueprint.post(path, endpoint=f"{mode}_post")(post)
    return blueprint


View = Callable[[], Awaitable[Response]]


def _view(mode: Mode, rerank: RerankMode, settings: Settings, searches: Searches) -> View:
    async def view() -> Response:
        asked = await read_search(request)
        query = asked.to_query(
            top_k=settings.pinecone_top_k,
            namespace=settings.pinecone_namespace,
            rerank=rerank if searches.reranks_unasked else "none",
            fusion=settings.search_fusion,
            lexical_weight=settings.search_lexical_weight,
        )
        if query.rerank != "none":
            _check_rerank(query, searches.max_reranked)
        _check_words(query, mode, searches)
        _check_fusion(asked, mode)
        timeout_ms = asked.timeout_ms or settings.search_timeout_ms
        if timeout_ms > settings.search_timeout_max_ms:
            raise _invalid("timeout_ms", f"must be at most {settings.search_timeout_max_ms}")
        async for event in searches.search(mode, query, Deadline(timeout_ms / 1000)):
            g.receipt = event.receipt
        highlighter = searches.highlighter if query.highlight else None
        body = answer(
            event, query, settings.pinecone_text_field, highlighter, cascading=mode == "cascading"
        )
        try:
            return json_response(body)
        except TypeError as exc:  # a number of more than 64 bits, or a field nested without end
            raise UpstreamGarbled("A record that was found can't be written as JSON") from exc

    return view


def _documented(view: View, mode: Mode) -> View:
    view = tag(["search"])(operation_id(f"{mode}_search")(view))
    view.__doc__ = SUMMARIES[mode]
    view = document_response(SearchAnswer, 200)(view)
    for status in (400, 401, 422, 500, 502, 503, 504):
        view = document_response(ErrorAnswer, status)(view)
    return view


def _copy(view: View) -> View:
    """A function of its own for each method: the documentation is kept on the function."""

    @wraps(view)
    async def copied() -> Response:
        return await view()

    return copied


def _check_rerank(query: Query, limit: int) -> None:
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
