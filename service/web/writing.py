"""From an event to a response: JSON, in the shapes of the schemas."""

from __future__ import annotations

import math
from typing import Any

import orjson
from quart import Response

from service.errors import RequestError
from service.retrieval.query import Event, Highlighter, Query, Result
from service.retrieval.receipt import Receipt

UNAUTHORIZED = 401


def json_response(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, content_type="application/json")


def answer(
    event: Event,
    query: Query,
    text_field: str,
    highlighter: Highlighter | None,
    *,
    cascading: bool,
) -> dict[str, Any]:
    """The body of a search's answer."""
    results = [_result(result, query, text_field, cascading) for result in event.results]
    if highlighter is not None:
        for body, result in zip(results, event.results, strict=True):
            text = result.fields.get(text_field)
            body["highlights"] = highlighter(query.text, text) if isinstance(text, str) else []
    return {
        "results": results,
        "degraded": event.receipt.degraded,
        "receipt": _receipt(event.receipt),
    }


def _result(result: Result, query: Query, text_field: str, cascading: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"_id": result.id, "score": result.score}
    if query.fields is None:
        body["chunk_text"] = result.fields.get(text_field)
    else:
        wanted = result.fields if query.fields == ("*",) else query.fields
        body.update({name: result.fields[name] for name in wanted if name in result.fields})
        body.update(_id=result.id, score=result.score)  # whatever the record's fields are called
    if cascading:
        body["found_by"] = result.found_by
    return body


def _receipt(receipt: Receipt) -> dict[str, Any]:
    return {
        "ms": round(receipt.ms, 3),
        "missing": receipt.missing,
        "stages": [
            {
                "stage": stage.stage,
                "status": stage.status,
                "ms": round(stage.ms, 3),
                "candidates": stage.candidates,
                "usage": stage.usage,
                "error": stage.error,
            }
            for stage in receipt.stages
        ],
    }


def server_timing(receipt: Receipt) -> str:
    """The receipt's stages as a Server-Timing header."""
    return ", ".join(f"{stage.stage};dur={stage.ms:.1f}" for stage in receipt.stages)


def error_body(error: RequestError, request_id: str) -> dict[str, Any]:
    """The one shape of every error."""
    body: dict[str, Any] = {
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if error.faults:
        body["errors"] = [{"loc": fault.loc, "msg": fault.msg} for fault in error.faults]
    return body


def error_response(error: RequestError, request_id: str) -> Response:
    """An error as the answer to a request."""
    response = json_response(error_body(error, request_id), error.status)
    if error.status == UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="cascade"'
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    return response
