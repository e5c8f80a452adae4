"""From a request's bytes to records, or to an error that says where the bytes are none.

Knows nothing of which records can be written: that is judged record by record, behind this.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json

from service.errors import BadRequest, InvalidField, InvalidRequest
from service.web.records.schemas import MAX_RECORDS
from service.web.search.reading import LISTS, WHOLE_NUMBER, typed
from service.web.validation import given_twice, lowered, query_pairs, validated

SWITCHES = {"flatten", "strings"}
ModelT = TypeVar("ModelT", bound=BaseModel)


def read_parameters(model: type[ModelT], query_string: bytes) -> ModelT:
    """The parameters in the URL, which are all that there are beside the records."""
    given: dict[str, Any] = {}
    for name, value in query_pairs(query_string):
        if name in LISTS:
            given.setdefault(name, []).extend(part.strip() for part in value.split(","))
        elif name in given:
            raise given_twice(name)
        else:
            given[name] = _typed(name, value)
    return validated(model, given)


def _typed(name: str, value: str) -> Any:
    if name == "limit" and WHOLE_NUMBER.fullmatch(value):
        return int(value)
    if name in SWITCHES and value in {"true", "false"}:
        return value == "true"
    return typed(name, value) if name == "filter" else value


def read_records(body: bytes, *, ndjson: bool) -> list[Any]:
    """What stands for records in a body. If a part of it can't be read, none of it is taken."""
    records = _lines(body) if ndjson else _json(body)
    if len(records) > MAX_RECORDS:
        raise InvalidRequest(f"Send at most {MAX_RECORDS} records at once; these are more")
    return records


def _json(body: bytes) -> list[Any]:
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        raise BadRequest(f"The body is not valid JSON: {lowered(str(exc))}") from None
    if isinstance(given, dict):
        return [given]
    if not isinstance(given, list):
        raise BadRequest("The body must be a record, as a JSON object, or an array of records")
    return given


def _lines(body: bytes) -> list[Any]:
    lines = body.split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return [_line(number, line) for number, line in enumerate(lines, 1)]


def _line(number: int, line: bytes) -> Any:
    try:
        return from_json(line, allow_inf_nan=False)
    except ValueError as exc:
        why = "is empty" if not line.strip() else f"is not valid JSON: {lowered(str(exc))}"
        fault = InvalidField((number,), why)
        raise BadRequest(
            f"Line {number} {why}; nothing was written", invalid_fields=[fault]
        ) from None
