"""Validation of records before they are written, by Pinecone's rules on every backend.

A record that one backend accepts is accepted by the other. Each valid record is encoded here, once:
its size is limited, and the embedded engine stores exactly these bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from service.errors import InvalidRequest
from service.indexes.filters import shown
from service.indexes.limits import MAX_FIELDS, MAX_FIELDS_BYTES, MAX_ID_LENGTH, is_valid_id
from service.indexes.records import EncodedRecord
from service.ingest.target import Failure

MAX_LISTED = 10  # positions of records with the same id
MIN_INT, END_INT = -(2**63), 2**63


def check(
    records: Sequence[Any], text_field: str
) -> tuple[dict[int, EncodedRecord], list[Failure]]:
    """The valid records by their position, and a failure for each of the others."""
    checked: dict[int, EncodedRecord] = {}
    failures: list[Failure] = []
    positions: dict[str, list[int]] = {}
    for position, record in enumerate(records):
        try:
            checked[position] = encoded = _encode(record, text_field)
            positions.setdefault(encoded.id, []).append(position)
        except ValueError as exc:
            failures.append(Failure(_id_of(record), position, InvalidRequest.code, str(exc)))
    for id, same in positions.items():
        if len(same) > 1:  # which of them is meant is unknown
            listed = ", ".join(map(str, same[:MAX_LISTED]))
            sentence = f"_id: several records of this request have it ({listed}, from 0)"
            for position in same:
                del checked[position]
                failures.append(Failure(id, position, InvalidRequest.code, sentence))
    return checked, sorted(failures, key=lambda failure: failure.index)


def _encode(given: Any, text_field: str) -> EncodedRecord:
    if not isinstance(given, dict):
        raise ValueError("a record is a JSON object")  # noqa: TRY004 - a value out of a request
    id = _check_id(given)
    fields = {name: value for name, value in given.items() if name not in {"_id", "id"}}
    text = fields.get(text_field)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{text_field}: must be given, as a text that is not empty")
    if len(fields) > MAX_FIELDS:
        raise ValueError(
            f"a record has at most {MAX_FIELDS} fields, and this one has {len(fields)}: "
            "keep what is not filtered by in the text, or in one field"
        )
    for name, value in fields.items():
        _check_field(name, value)
    json = orjson.dumps(fields)
    if len(json) > MAX_FIELDS_BYTES:
        raise ValueError(
            f"the fields of a record, its text included, have at most {MAX_FIELDS_BYTES} bytes "
            f"as JSON, and these have {len(json)}: cut the text into several records"
        )
    return EncodedRecord(id, fields, json)


def _check_id(given: dict[str, Any]) -> str:
    """`id` is an alias of `_id`, as in Pinecone's records API; if both are given they are equal."""
    id = given.get("_id", given.get("id"))
    if "_id" in given and "id" in given and given["id"] != id:
        raise ValueError("_id: differs from the id beside it; give one of the two")
    if id is None:
        raise ValueError("_id: must be given")
    if not isinstance(id, str) or not is_valid_id(id):
        raise ValueError(
            f"_id: must be a text of 1 to {MAX_ID_LENGTH} ASCII characters, without NUL"
        )
    return id


def _check_field(name: str, value: Any) -> None:
    if not name or name.startswith("$") or name == "_score":
        raise ValueError(f"{shown(name)}: a field name can't be empty, be _score or start with $")
    if value is None:
        raise ValueError(f"{shown(name)}: can't be null; leave the field out")
    if isinstance(value, str | bool):
        return
    if isinstance(value, int | float):
        if not MIN_INT <= value < END_INT:  # also false for NaN
            raise ValueError(f"{shown(name)}: must be a finite number of at most 64 bits")
    elif not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(
            f"{shown(name)}: must be a text, a number, true, false or a list of texts; "
            "an object can't be nested"
        )


def _id_of(given: Any) -> str | None:
    id = given.get("_id", given.get("id")) if isinstance(given, dict) else None
    return id if isinstance(id, str) and len(id) <= MAX_ID_LENGTH else None
