"""From the body of a request to records, which are not validated yet.

A body that is not valid JSON is rejected as a whole. Each record is validated later, by itself.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from service.errors import BadRequest, InvalidField, InvalidRequest
from service.web.records.schemas import MAX_RECORDS
from service.web.validation import uncapitalize


def parse_records(body: bytes, *, ndjson: bool) -> list[Any]:
    records = _parse_ndjson(body) if ndjson else _parse_json(body)
    if len(records) > MAX_RECORDS:
        raise InvalidRequest(
            f"The request has {len(records)} records; send at most {MAX_RECORDS} at once, or use "
            "/api/imports"
        )
    return records


def _parse_json(body: bytes) -> list[Any]:
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        raise BadRequest(f"The body is not valid JSON: {uncapitalize(str(exc))}") from None
    if isinstance(content, dict):
        return [content]
    if not isinstance(content, list):
        raise BadRequest("The body must be a JSON object or an array of JSON objects")
    return content


def _parse_ndjson(body: bytes) -> list[Any]:
    lines = body.split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return [_parse_line(number, line) for number, line in enumerate(lines, 1)]


def _parse_line(number: int, line: bytes) -> Any:
    try:
        return from_json(line, allow_inf_nan=False)
    except ValueError as exc:
        msg = "is empty" if not line.strip() else f"is not valid JSON: {uncapitalize(str(exc))}"
        raise BadRequest(
            f"Line {number} {msg}; no record was written",
            invalid_fields=[InvalidField((number,), msg)],
        ) from None
