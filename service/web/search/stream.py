"""Cascading retrieval as server-sent events: the results so far, after each stage.

The search runs up to its first event before the response starts. An error until then is an ordinary
error response, and until then the request holds its slot. The stream needs no heartbeat: the
timeout of a search is shorter than those of proxies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import orjson
from quart import Blueprint, Request, Response, g

from service.access.grant import Grant
from service.caching.answer_cache import AnswerSubscription
from service.errors import CursorExpired, RequestError
from service.retrieval.deadline import Deadline
from service.retrieval.query import StageEvent
from service.retrieval.receipt import Receipt
from service.web.access_log import note_query
from service.web.errors import error_body, internal_error
from service.web.openapi.operation import documented
from service.web.responses import NoMoreEvents, encode_event, event_response
from service.web.search.caching import cache_directives
from service.web.search.charging import give_back_if_cached
from service.web.search.parsing import RequestParser, receive_search
from service.web.search.progress import ProgressEncoder
from service.web.search.rendering import SearchAnswer
from service.web.search.request_schemas import SearchParameters
from service.web.search.response_schemas import SearchEvent
from service.web.search.routes import ERRORS, PATHS, make_view
from service.web.search.service import SearchService
from service.web.validation import invalid_field

PATH = f"{PATHS['cascading']}/stream"
DONE = "done"
SUMMARY = "Cascading retrieval as a stream of server-sent events, one for each stage."


def stream_blueprint(parser: RequestParser, service: SearchService) -> Blueprint:
    blueprint = Blueprint("stream", __name__)
    errors = [status for status in ERRORS if status != CursorExpired.status]
    document = documented(
        "search",
        "cascading_stream",
        {200: SearchEvent, 204: NoMoreEvents},
        errors,
        parameters=SearchParameters,
    )
    view = make_view(StreamView(parser, service).respond, SUMMARY)
    blueprint.route(PATH, methods=["GET", "POST"], endpoint="cascading")(document(view))
    return blueprint


class StreamView:
    def __init__(self, parser: RequestParser, service: SearchService) -> None:
        self._parser = parser
        self._service = service

    async def respond(self, request: Request, grant: Grant) -> Response:
        if request.headers.get("Last-Event-ID") == DONE:
            return Response(status=204)  # tells an EventSource not to reconnect
        search = self._parser.parse(await receive_search("cascading", request), grant)
        if search.request.cursor:
            raise invalid_field(
                "cursor", f"is not supported by the stream; send it to {PATHS['cascading']}"
            )
        note_query(search.query)
        deadline = Deadline(search.timeout_ms / 1000, spent=g.queue_s)
        directives = cache_directives(request)
        subscription = self._service.subscribe(search, deadline, directives, g.account)
        _close_with_request(subscription)
        encoder = ProgressEncoder(self._service, search, deadline)
        item = await anext(subscription)
        give_back_if_cached(g.account, item)
        first = await _encode(encoder, item, 1)
        return event_response(_events(first, subscription, encoder, g.request_id))


def _close_with_request(subscription: AnswerSubscription[StageEvent, Receipt]) -> None:
    """Close it even if the request is cancelled before its response has started."""
    task = asyncio.current_task()
    assert task is not None, "a request runs in a task"  # noqa: S101
    task.add_done_callback(lambda _: subscription.close())


async def _encode(encoder: ProgressEncoder, item: StageEvent | SearchAnswer, number: int) -> bytes:
    """The id is the number of the event, or `done`, by which a client says that it has that."""
    stage, data = await encoder.encode(item)
    return encode_event(stage, data, DONE if stage == DONE else number)


async def _events(
    first: bytes,
    subscription: AnswerSubscription[StageEvent, Receipt],
    encoder: ProgressEncoder,
    request_id: str,
) -> AsyncGenerator[bytes]:
    yield first
    number = 1
    try:
        async for item in subscription:
            number += 1
            yield await _encode(encoder, item, number)
    except Exception as exc:
        error = exc if isinstance(exc, RequestError) else internal_error(exc)
        yield encode_event("error", orjson.dumps(error_body(error, request_id)))
