"""What the Python client reads: event streams and answers, of any server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import httpx

from service.client import responses
from service.client.error_mapping import ErrorMapping
from service.client.errors import SearchClientError
from service.client.models import SearchContext
from service.client.sse import EventParser, ServerSentEvent

CONTEXT = SearchContext("cascading", explain=True, highlight=True)
READERS: tuple[Callable[[Any], Any], ...] = (
    lambda body: responses.answer(body, CONTEXT),
    lambda body: responses.search_event("done", body, CONTEXT),
    responses.job,
    responses.stats,
    responses.readiness,
    responses.id_page,
    responses.import_page,
    responses.written,
    responses.deleted,
    responses.namespaces,
    responses.record,
    responses.alive,
)
ERRORS = ErrorMapping("http://127.0.0.1:8000", "a-key-of-the-service")


def event_stream(data: bytes) -> None:
    """How a stream is divided into chunks makes no difference."""
    whole = EventParser().feed(data)
    for size in (1, 3):
        parser = EventParser()
        parts: list[ServerSentEvent] = []
        for start in range(0, len(data), size):
            parts += parser.feed(data[start : start + size])
        assert parts == whole
    for event in whole:
        try:
            ERRORS.raise_error_event(event)
            responses.search_event(event.name, responses.decode_json(event.data), CONTEXT)
        except SearchClientError:
            pass


def service_answer(data: bytes) -> None:
    header, _, body = data.partition(b"\n")
    error = ERRORS.from_response(
        httpx.Response(503, headers=[(b"Retry-After", header.strip())], content=body)
    )
    assert error.retry_after is None or 0 <= error.retry_after <= 3600
    for read in READERS:
        with contextlib.suppress(SearchClientError):
            read(responses.decode_json(body))
