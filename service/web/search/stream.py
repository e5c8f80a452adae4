"""Cascading retrieval as server-sent events: what is found so far, after each stage.

The search runs up to its first event before the response begins. So whatever keeps it from finding
anything is an error like any other, and until then it has a place at the gate. Nothing is silent
for longer than the search may take, which is less than what proxies wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import orjson
from quart import Blueprint, Request, Response, g
from quart.globals import request_ctx
from quart_schema import (
    document_querystring,
    document_request,
    document_response,
    operation_id,
    tag,
)

from service.caching.answer_cache import AnswerSubscription
from service.errors import CursorExpired, RequestError
from service.retrieval.deadline import Deadline
from service.retrieval.query import Event
from service.retrieval.receipt import Receipt
from service.web.errors import ErrorResponse, internal_error
from service.web.responses import event, event_response
from service.web.search.caching import cache_directives
from service.web.search.parsing import at
from service.web.search.progress import ProgressEncoder
from service.web.search.reading import read_raw
from service.web.search.rendering import error_body
from service.web.search.request_schemas import SearchParameters, SearchRequest
from service.web.search.routes import ERRORS, OF_BODIES, PATHS, View
from service.web.search.service import SearchService
from service.web.search.stream_schemas import SearchEvent

PATH = f"{PATHS['cascading'][0]}/stream"


def stream_blueprint(searching: SearchService) -> Blueprint:
    """The route of a cascade that tells how it gets on."""
    blueprint = Blueprint("stream", __name__)
    get = document_querystring(SearchParameters)(_documented(searching))
    post = document_request(SearchRequest)(_documented(searching))
    for status in OF_BODIES:
        post = document_response(ErrorResponse, status)(post)
    blueprint.get(PATH, endpoint="get")(get)
    blueprint.post(PATH, endpoint="post")(post)
    return blueprint


async def stream(searching: SearchService, request: Request, tenant: str) -> Response:
    """The response, whose first event is there."""
    asked = searching.asking.read(await read_raw(request))
    if asked.search.cursor:
        raise at("cursor", f"is for {PATHS['cascading'][0]}: a later page is there at once")
    deadline = Deadline(asked.timeout_ms / 1000, spent=g.queued)
    news = searching.follow(asked, tenant, deadline, cache_directives(request))
    _close_with_request(news)
    progress = ProgressEncoder(searching, asked.query)
    first = event(*progress.told(await anext(news)))
    return event_response(_events(first, news, progress, g.request_id))


def _close_with_request(news: AnswerSubscription[Event, Receipt]) -> None:
    """Whatever becomes of the request, which may be over before its response has begun."""
    task = asyncio.current_task()
    assert task is not None, "requests are tasks"  # noqa: S101
    task.add_done_callback(lambda _: news.close())


async def _events(
    first: bytes,
    news: AnswerSubscription[Event, Receipt],
    progress: ProgressEncoder,
    request_id: str,
) -> AsyncGenerator[bytes]:
    yield first
    try:
        async for each in news:
            yield event(*progress.told(each))
    except Exception as exc:
        error = exc if isinstance(exc, RequestError) else internal_error(exc)
        yield event("error", orjson.dumps(error_body(error, request_id)))


def _documented(searching: SearchService) -> View:
    """A function of its own for each method: the documentation is kept on the function."""

    async def view() -> Response:
        return await stream(searching, request_ctx.request, g.get("tenant", ""))

    view.__doc__ = "Cascading retrieval, told while it runs, as server-sent events."
    documented: View = tag(["search"])(operation_id("cascading_stream")(view))
    documented = document_response(SearchEvent, 200)(documented)
    for status in ERRORS:
        if status != CursorExpired.status:
            documented = document_response(ErrorResponse, status)(documented)
    return documented
