"""The messages of the search WebSocket: decoded and validated, or encoded."""

from __future__ import annotations

from typing import Any, get_args

import orjson
from pydantic_core import from_json

from service.errors import BadRequest, RequestError
from service.retrieval.query import Mode
from service.web.search.parsing import require_text
from service.web.search.request_schemas import SearchRequest
from service.web.validation import invalid_field, validate

ENVELOPE_KEYS = {"type", "seq", "mode"}
MODES: tuple[Mode, ...] = get_args(Mode)
MAX_SEQ = 2**53  # larger integers are not exact in JavaScript

Message = dict[str, Any]


def decode_message(text: str) -> Message:
    try:
        message = from_json(text, allow_inf_nan=False, cache_strings="keys")
    except ValueError as exc:
        raise BadRequest(f"The message is not valid JSON: {exc}") from None
    if not isinstance(message, dict):
        raise BadRequest("The message must be a JSON object")
    return message


def read_seq(message: Message) -> int:
    """The sequence number of a search, which its results carry too."""
    seq = message.get("seq")
    if type(seq) is not int or not 0 <= seq < MAX_SEQ:
        raise invalid_field("seq", "must be an integer of 0 or more")
    return seq


def read_mode(message: Message) -> Mode:
    for mode in MODES:
        if message.get("mode") == mode:
            return mode
    raise invalid_field("mode", "must be semantic, lexical or cascading")


def read_search(message: Message) -> SearchRequest:
    """The search parameters, which are those of the HTTP API without `cursor`."""
    parameters = {name: value for name, value in message.items() if name not in ENVELOPE_KEYS}
    request = require_text(validate(SearchRequest, parameters))
    if request.cursor:
        raise invalid_field("cursor", "is not supported over WebSocket; use the HTTP endpoint")
    return request


def results_message(seq: int, data: bytes) -> bytes:
    """A message with the data of a search event, which is a JSON object."""
    return b'{"type":"results","seq":%d,%b' % (seq, data[1:])


def error_message(error: RequestError, message: Message) -> bytes:
    """The error of a message; its `seq` is null if the message has no valid one."""
    try:
        seq = read_seq(message)
    except RequestError:
        seq = None
    body: Message = {"type": "error", "seq": seq, "detail": error.detail, "code": error.code}
    if error.invalid_fields:
        body["errors"] = error.invalid_fields
    if error.retry_after is not None:
        body["retry_after"] = error.retry_after
    return orjson.dumps(body)


PONG = b'{"type":"pong"}'
