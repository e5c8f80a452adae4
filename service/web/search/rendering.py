"""From an event to a response: JSON, in the shapes of the schemas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from quart import Response

from service.errors import RequestError, UpstreamGarbled
from service.retrieval.query import Explanations, Highlighter, Query, Result
from service.retrieval.receipt import Receipt, StageReceipt

UNAUTHORIZED = 401


def json_response(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, content_type="application/json")


def results_of(
    found: Sequence[Result],
    query: Query,
    text_field: str,
    highlighter: Highlighter | None,
    cascading: bool,
) -> list[dict[str, Any]]:
    """Results as they are in every answer, without explanations."""
    results = [_result(result, query, text_field, cascading) for result in found]
    if highlighter is not None:
        for body, result in zip(results, found, strict=True):
            text = result.fields.get(text_field)
            body["highlights"] = highlighter(query.text, text) if isinstance(text, str) else []
    return results


def payload_of(
    results: Sequence[dict[str, Any]],
    found: Sequence[Result],
    explanations: Explanations | None,
    degraded: bool,
    cursor: str | None,
) -> bytes:
    """The part of an answer that is the same for all who ask: everything but the receipt."""
    if explanations is not None:
        for body, result in zip(results, found, strict=True):
            body["explain"] = asdict(explanations[result.id])
    return json_of({"results": results, "degraded": degraded, "cursor": cursor})


def with_receipt(payload: bytes, receipt: Mapping[str, Any]) -> bytes:
    """A whole answer: the receipt is the last of its members."""
    return b'%b,"receipt":%b}' % (payload[:-1], json_of(receipt))


def json_of(found: Mapping[str, Any]) -> bytes:
    """As JSON, if what was found can be written as that."""
    try:
        return orjson.dumps(found)
    except TypeError as exc:  # a number of more than 64 bits, or a field nested without end
        raise UpstreamGarbled("A record that was found can't be written as JSON") from exc


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


def receipt_of(receipt: Receipt, cache: str) -> dict[str, Any]:
    """The receipt of a search that was run just now."""
    return {
        "ms": round(receipt.ms, 3),
        "cache": cache,
        "missing": receipt.missing,
        "stages": [
            {
                "stage": stage.stage,
                "status": stage.status,
                "ms": round(stage.ms, 3),
                "candidates": stage.candidates,
                "usage": stage.usage,
                "error": stage.error,
                "attempts": stage.attempts,
                "fallback": stage.fallback,
            }
            for stage in receipt.stages
        ],
    }


def kept_receipt(
    ms: float, cache: str, *, missing: Sequence[str] = (), age_ms: float | None = None
) -> dict[str, Any]:
    """The receipt of an answer for which nothing was run."""
    age = {} if age_ms is None else {"age_ms": round(age_ms, 3)}
    return {"ms": round(ms, 3), "cache": cache, **age, "missing": missing, "stages": []}


def server_timing(receipt: Receipt) -> str:
    """The receipt's stages as a Server-Timing header."""
    return ", ".join(map(_timing, receipt.stages))


def _timing(stage: StageReceipt) -> str:
    timing = f"{stage.stage};dur={stage.ms:.1f}"
    return timing if stage.status == "ok" else f"{timing};desc={stage.status}"


def error_body(error: RequestError, request_id: str) -> dict[str, Any]:
    """The one shape of every error."""
    body: dict[str, Any] = {
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if error.invalid_fields:
        body["errors"] = [{"loc": fault.loc, "msg": fault.msg} for fault in error.invalid_fields]
    return body


def error_response(error: RequestError, request_id: str) -> Response:
    """An error as the answer to a request."""
    response = json_response(error_body(error, request_id), error.status)
    response.headers["Cache-Control"] = "no-store"
    if error.status == UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="cascade"'
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    return response
