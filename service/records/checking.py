"""Validation of records before they are written, by Pinecone's rules on every backend.

A record that one backend accepts is accepted by the other. Each valid record is encoded here, once:
its size is limited, and the embedded engine stores exactly these bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from service.errors import InvalidRequest
from service.indexes.filters import shown
from service.indexes.limits import MAX_FIELDS_BYTES, MAX_ID_LENGTH, is_valid_id
from service.indexes.records import EncodedRecord

MAX_LISTED = 10  # positions of records with the same id
MIN_INT, END_INT = -(2**63), 2**63


@dataclass(frozen=True, slots=True)
class RecordFailure:
    """A record that was not written: its position in the request, its id if it has one, and why."""

    position: int
    id: str | None
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class CheckedRecord:
    """A valid record with its position in the request."""

    position: int
    record: EncodedRecord

    @property
    def id(self) -> str:
        return self.record.id


def check(
    records: Sequence[Any], text_field: str
) -> tuple[list[CheckedRecord], list[RecordFailure]]:
    """The valid records, and a failure for each of the others."""
    checked: list[CheckedRecord] = []
    failures: list[RecordFailure] = []
    for position, record in enumerate(records):
        try:
            checked.append(CheckedRecord(position, _encode(record, text_field)))
        except ValueError as exc:
            failures.append(_failure(position, _id_of(record), str(exc)))
    unique = _without_duplicates(checked, failures)
    return unique, sorted(failures, key=lambda failure: failure.position)


def _encode(given: Any, text_field: str) -> EncodedRecord:
    if not isinstance(given, dict):
        raise ValueError("a record is a JSON object")  # noqa: TRY004 - a value out of a request
    id = _check_id(given)
    fields = {name: value for name, value in given.items() if name not in {"_id", "id"}}
    text = fields.get(text_field)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{text_field}: must be given, as a text that is not empty")
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


def _without_duplicates(
    checked: Iterable[CheckedRecord], failures: list[RecordFailure]
) -> list[CheckedRecord]:
    """Reject all records that share an id: which of them is meant is unknown."""
    by_id: dict[str, list[CheckedRecord]] = {}
    for each in checked:
        by_id.setdefault(each.id, []).append(each)
    for id, same in by_id.items():
        if len(same) > 1:
            positions = ", ".join(str(each.position) for each in same[:MAX_LISTED])
            sentence = f"_id: several records of this request have it ({positions}, from 0)"
            failures += [_failure(each.position, id, sentence) for each in same]
    return [same[0] for same in by_id.values() if len(same) == 1]


def _failure(position: int, id: str | None, sentence: str) -> RecordFailure:
    return RecordFailure(position, id, InvalidRequest.code, sentence)


def _id_of(given: Any) -> str | None:
    id = given.get("_id", given.get("id")) if isinstance(given, dict) else None
    return id if isinstance(id, str) and len(id) <= MAX_ID_LENGTH else None
