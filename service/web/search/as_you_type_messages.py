"""What can be said over the WebSocket of searches, and how it is understood.

Knows nothing of what is done about it.
"""

from __future__ import annotations

from typing import Any

import orjson
from pydantic_core import from_json

from service.errors import BadRequest, InvalidField, RequestError
from service.retrieval.query import Mode
from service.web.search.reading import check_text
from service.web.search.request_schemas import SearchRequest
from service.web.validation import invalid, validated

OURS = {"type", "seq", "mode"}
MODES: tuple[Mode, ...] = ("semantic", "lexical", "cascading")
MOST_SEQ = 2**53  # beyond that a browser's numbers are not whole

Message = dict[str, Any]


def read_message(text: str) -> Message:
    """A message: a JSON object."""
    try:
        message = from_json(text, allow_inf_nan=False, cache_strings="keys")
    except ValueError as exc:
        raise BadRequest(f"The message is not valid JSON: {exc}") from None
    if not isinstance(message, dict):
        raise BadRequest("The message must be a JSON object")
    return message


def seq_of(message: Message) -> int:
    """The number that its answers will have."""
    seq = message.get("seq")
    if type(seq) is not int or not 0 <= seq < MOST_SEQ:
        raise invalid(InvalidField(("seq",), "must be a whole number, 0 or more"))
    return seq


def mode_of(message: Message) -> Mode:
    for mode in MODES:
        if message.get("mode") == mode:
            return mode
    raise invalid(InvalidField(("mode",), "must be semantic, lexical or cascading"))


def search_of(message: Message) -> SearchRequest:
    """The parameters: those of the search over HTTP, but for later pages."""
    given = {name: value for name, value in message.items() if name not in OURS}
    search = check_text(validated(SearchRequest, given))
    if search.cursor:
        raise invalid(InvalidField(("cursor",), "is for HTTP: a later page is there at once"))
    return search


def results_message(seq: int, told: bytes) -> bytes:
    """What a search tells, as a message."""
    return b'{"type":"results","seq":%d,%b' % (seq, told[1:])


def error_message(error: RequestError, message: Message) -> bytes:
    """What is wrong with a message, or with the search that it asked for."""
    try:
        seq = seq_of(message)
    except RequestError:
        seq = None
    body: Message = {"type": "error", "seq": seq, "detail": error.detail, "code": error.code}
    if error.invalid_fields:
        body["errors"] = [{"loc": fault.loc, "msg": fault.msg} for fault in error.invalid_fields]
    if error.retry_after is not None:
        body["retry_after"] = error.retry_after
    return orjson.dumps(body)


PONG = b'{"type":"pong"}'
