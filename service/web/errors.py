"""Error responses: one JSON shape for every error, from every place that can produce one."""

from __future__ import annotations

import logging
import math
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, RootModel
from quart import Quart, Response, g, has_websocket_context
from werkzeug.exceptions import HTTPException
from werkzeug.routing import WebsocketMismatch

from service import errors
from service.lifecycle import Lifecycle
from service.logs import one_line
from service.web.asgi import Scope
from service.web.request_context import choose_request_id, response_headers
from service.web.responses import json_response

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("service.access")

UNAUTHORIZED = 401
_BY_STATUS: dict[int, tuple[type[errors.RequestError], str]] = {
    404: (errors.NotFound, "There is no endpoint at this path; /api/docs lists the endpoints"),
    405: (errors.MethodNotAllowed, "This endpoint does not support the method of the request"),
    408: (errors.BodyTimeout, "The request body did not arrive in time; send it again"),
    413: (errors.BodyTooLarge, "The request body is larger than this endpoint accepts"),
    415: (errors.UnsupportedMediaType, "This endpoint does not accept this Content-Type"),
}
MALFORMED = "The request is malformed"
WEBSOCKET_ONLY = "This endpoint accepts WebSocket connections only"
HTTP_ONLY = "This endpoint does not accept WebSocket connections"
INTERNAL = "An unexpected error occurred; the service's log has the details under the request id"
ERROR_CODES = sorted(errors.RequestError.codes())


class ErrorCode(RootModel[str]):
    """A stable error code."""

    model_config = ConfigDict(json_schema_extra={"enum": [*ERROR_CODES]})


class FieldError(BaseModel):
    """An invalid field."""

    loc: list[str | int] = Field(description="The path to the field.")
    msg: str = Field(description="What is wrong with the value, or what is allowed.")


class ErrorResponse(BaseModel):
    """The body of every error response."""

    detail: str = Field(description="A human-readable explanation of the error.")
    code: ErrorCode
    request_id: str = Field(
        description="The id of the request, as in the `X-Request-Id` header and in the logs."
    )
    errors: list[FieldError] | None = Field(
        None, description="The invalid fields, if the error is about specific fields."
    )


def install(app: Quart) -> None:
    """Register the error handlers."""
    app.register_error_handler(errors.RequestError, _handle_request_error)
    app.register_error_handler(HTTPException, _handle_http_exception)
    app.register_error_handler(Exception, _handle_unexpected)


async def _handle_request_error(error: errors.RequestError) -> Response:
    return error_response(error, g.request_id)


async def _handle_http_exception(error: HTTPException) -> Response:
    status = error.code or 500
    if status in _BY_STATUS:
        kind, detail = _BY_STATUS[status]
        response = error_response(kind(detail), g.request_id)
    elif 400 <= status < 500:  # noqa: PLR2004
        response = error_response(errors.BadRequest(_bad_request_detail(error)), g.request_id)
    else:
        return await _handle_unexpected(error)
    if allowed := getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _bad_request_detail(error: HTTPException) -> str:
    if not isinstance(error, WebsocketMismatch):
        return MALFORMED
    return HTTP_ONLY if has_websocket_context() else WEBSOCKET_ONLY


async def _handle_unexpected(error: Exception) -> Response:
    return error_response(internal_error(error), g.request_id)


def internal_error(error: Exception) -> errors.InternalError:
    """Log an unexpected exception; returns the error to send, which discloses nothing of it."""
    logger.error("unexpected exception in a request", exc_info=error)
    return errors.InternalError(INTERNAL)


def error_body(error: errors.RequestError, request_id: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if error.invalid_fields:
        body["errors"] = error.invalid_fields
    return body


def error_response(error: errors.RequestError, request_id: str) -> Response:
    g.code, g.detail = error.code, error.detail  # for the logs
    response = json_response(error_body(error, request_id), error.status)
    response.headers["Cache-Control"] = "no-store"
    if error.status == UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="cascade"'
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    return response


def rejection(
    error: errors.RequestError, sent_request_id: str, seconds: float, lifecycle: Lifecycle
) -> tuple[dict[str, str], bytes]:
    """Headers and body of an error response outside Quart: before a request enters the app.

    Rejections are not logged one by one. Under overload they would fill the log, at the expense of
    the admitted requests; `AdmissionController` logs their number every few seconds.
    """
    request_id = choose_request_id(sent_request_id)
    body = orjson.dumps(error_body(error, request_id))
    headers = response_headers(request_id, seconds, "", lifecycle)
    headers["Content-Type"] = "application/json"
    headers["Cache-Control"] = "no-store"
    headers["Content-Length"] = str(len(body))
    if error.retry_after is not None:
        headers["Retry-After"] = f"{error.retry_after:.0f}"
    return headers, body


def log_rejection(scope: Scope, error: errors.RequestError, request_id: str) -> None:
    """The line of the access log for a request that did not enter the app."""
    method, path = one_line(scope.get("method", "GET")), one_line(scope["path"])
    fields = {
        "method": method,
        "path": path,
        "status": error.status,
        "code": error.code,
        "client": one_line((scope.get("client") or [""])[0]) or None,
        "request_id": request_id,
    }
    access_logger.info("%s %s %s %s", method, path, error.status, error.code, extra=fields)
