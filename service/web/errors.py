"""Every error leaves in one shape, mapped here and nowhere else."""

from __future__ import annotations

import logging

from pydantic import BaseModel, Field
from quart import Quart, Response, g
from werkzeug.exceptions import HTTPException
from werkzeug.routing import WebsocketMismatch

from service import errors
from service.web.search.rendering import error_response

logger = logging.getLogger(__name__)

_BY_STATUS: dict[int, tuple[type[errors.RequestError], str]] = {
    404: (errors.NotFound, "There is nothing at this address; /api/docs lists what there is"),
    405: (errors.MethodNotAllowed, "This address does not take that method"),
    408: (errors.BodyTimeout, "The body did not arrive in time"),
    413: (errors.BodyTooLarge, "The body is larger than this service takes"),
    415: (errors.UnsupportedMediaType, "This address does not take that media type"),
}
NOT_UNDERSTOOD = "The request was not understood"
WRONG_PROTOCOL = "Either this address is for WebSockets and yours was none, or the other way round"


class FieldError(BaseModel):
    """What is wrong with one field."""

    loc: list[str | int] = Field(description="Where it stands.")
    msg: str = Field(description="What is allowed there.")


ERROR_CODES = sorted(errors.RequestError.codes())


class ErrorResponse(BaseModel):
    """Every error has this shape."""

    detail: str = Field(description="A sentence that a person can act on.")
    code: str = Field(description=f"A stable name: {', '.join(ERROR_CODES)}.")
    request_id: str = Field(description="Also in X-Request-Id, and in the service's log.")
    errors: list[FieldError] | None = Field(None, description="Where a field is at fault.")


def install(app: Quart) -> None:
    """Register the handlers."""
    app.register_error_handler(errors.RequestError, _request_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _bug)


async def _request_error(error: errors.RequestError) -> Response:
    return error_response(error, g.request_id)


async def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if status in _BY_STATUS:
        kind, sentence = _BY_STATUS[status]
        response = error_response(kind(sentence), g.request_id)
    elif 400 <= status < 500:  # noqa: PLR2004
        sentence = WRONG_PROTOCOL if isinstance(error, WebsocketMismatch) else NOT_UNDERSTOOD
        response = error_response(errors.BadRequest(sentence), g.request_id)
    else:
        return await _bug(error)
    if allowed := getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


async def _bug(error: Exception) -> Response:
    return error_response(internal_error(error), g.request_id)


def internal_error(error: Exception) -> errors.InternalError:
    """What is said of a failure that nobody foresaw; all there is to know of it is logged."""
    logger.error("a request failed in a way that nobody foresaw", exc_info=error)
    return errors.InternalError(
        "Something went wrong inside of the service; the request id leads to it in the log"
    )
