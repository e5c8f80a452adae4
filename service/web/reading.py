"""From a request's bytes to a `SearchRequest`, or to an error that says which parameter is wrong.

Knows nothing of searching. Query strings and bodies end in the same strict model: the query string
is first brought into the types that a JSON body would have had.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json
from quart import Request
from werkzeug.exceptions import RequestTimeout

from service.errors import (
    BadRequest,
    BodyTimeout,
    EmptyQuery,
    FieldFault,
    InvalidRequest,
    RequestError,
    UnsupportedMediaType,
)
from service.web.schemas import EMPTY_QUERY, SearchRequest

MAX_PARAMETERS = 64
MAX_FAULTS = 20
SENTENCES = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "string_type": "must be a text",
    "dict_type": "must be a JSON object",
    "list_type": "must be a list of names",
}
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,20}")


async def read_search(request: Request) -> SearchRequest:
    """The search that a GET's query string or a POST's JSON body asks for."""
    if request.method == "POST":
        if request.query_string:
            raise InvalidRequest("A POST takes its parameters in its JSON body, not in the URL")
        return _validated(await _json_body(request))
    return _validated(_parameters(request.query_string))


def _validated(given: bytes | dict[str, Any]) -> SearchRequest:
    try:
        if isinstance(given, bytes):
            search = SearchRequest.model_validate_json(given)
        else:
            search = SearchRequest.model_validate(given)
    except ValidationError as exc:
        raise _error(exc.errors(include_url=False, include_input=False)) from None
    if not search.text_query.strip():
        raise _empty_query()
    return search


async def _json_body(request: Request) -> bytes:
    media_type = request.mimetype
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType("Send the search as JSON, with Content-Type: application/json")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body as it is, without a Content-Encoding")
    try:
        body = await request.get_data(cache=False)
    except RequestTimeout as exc:
        raise BodyTimeout("The body did not arrive in time") from exc
    return bytes(body)  # type: ignore[arg-type]  # as_text is False


def _parameters(query_string: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(
            query_string.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except UnicodeDecodeError:
        raise BadRequest("The query string is not valid UTF-8") from None
    except ValueError:
        raise BadRequest(f"The query string has more than {MAX_PARAMETERS} parameters") from None
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name == "fields":
            given.setdefault(name, []).extend(part.strip() for part in value.split(","))
        elif name in given:
            raise _invalid([FieldFault((name[:100],), "is given more than once")])
        else:
            given[name] = _typed(name, value)
    return given


def _typed(name: str, value: str) -> Any:
    """What `value` would be in a JSON body; the model has the say on what is none of these."""
    if name in {"top_k", "timeout_ms"} and WHOLE_NUMBER.fullmatch(value):
        return int(value)
    if name == "filter":
        try:
            return from_json(value, allow_inf_nan=False)
        except ValueError as exc:
            raise _invalid([FieldFault((name,), f"is not valid JSON: {exc}")]) from None
    return value


def _error(errors: Sequence[ErrorDetails]) -> RequestError:
    first = errors[0]
    if first["type"] == "json_invalid":
        return BadRequest(f"The body is not valid JSON: {_lowered(first['msg'])}")
    if not first["loc"]:
        return BadRequest("The body must be a JSON object")
    if any(error["loc"] == ("text_query",) and error["type"] == "missing" for error in errors):
        return _empty_query()
    return _invalid([FieldFault(_place(error), _message(error)) for error in errors[:MAX_FAULTS]])


def _place(error: ErrorDetails) -> tuple[str | int, ...]:
    return tuple(part if isinstance(part, int) else part[:100] for part in error["loc"])


def _message(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return f"is not a parameter; there are {', '.join(SearchRequest.model_fields)}"
    if error["type"] in SENTENCES:
        return SENTENCES[error["type"]]
    return _lowered(error["msg"].removeprefix("Value error, ").replace("Input should", "must"))


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _invalid(faults: Sequence[FieldFault]) -> InvalidRequest:
    sentences = [f"{'.'.join(map(str, fault.loc))}: {fault.msg}" for fault in faults]
    return InvalidRequest("; ".join(sentences), faults=faults)


def _empty_query() -> EmptyQuery:
    return EmptyQuery(EMPTY_QUERY, faults=[FieldFault(("text_query",), "must not be empty")])
