"""Which records can be written, and what is wrong with those that can't.

Knows nothing of HTTP or of an index. The rules are Pinecone's, kept on every backend, so that
records which were taken by one are taken by the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from service.errors import InvalidRequest
from service.indexes.filters import shown
from service.indexes.writes import MAX_ID, Record, is_id

MAX_FIELDS_BYTES = 40 * 1024  # of all fields of one record, its text included


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that was not written: its place in the request, its id if it has one, and why."""

    position: int
    id: str | None
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A record that can be written: its place in the request, and how large its JSON is."""

    position: int
    record: Record
    size: int

    @property
    def id(self) -> str:
        return str(self.record["_id"])


def check(records: Sequence[Any], text_field: str) -> tuple[list[Checked], list[Failure]]:
    """The records that can be written, and a failure for each of the others."""
    checked: list[Checked] = []
    failures: list[Failure] = []
    for position, record in enumerate(records):
        try:
            checked.append(_checked(position, record, text_field))
        except ValueError as exc:
            failures.append(_failure(position, _id_of(record), str(exc)))
    single = _without_duplicates(checked, failures)
    return single, sorted(failures, key=lambda failure: failure.position)


def _checked(position: int, given: Any, text_field: str) -> Checked:
    if not isinstance(given, dict):
        raise ValueError("a record is a JSON object")  # noqa: TRY004 - a value out of a request
    id = _check_id(given)
    fields = {name: value for name, value in given.items() if name not in {"_id", "id"}}
    text = fields.get(text_field)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{text_field}: must be there, as a text that is not empty")
    for name, value in fields.items():
        _check_field(name, value)
    size = len(orjson.dumps(fields))
    if size > MAX_FIELDS_BYTES:
        raise ValueError(
            f"the fields of a record, its text included, have at most {MAX_FIELDS_BYTES} bytes "
            f"as JSON, and these have {size}: cut the text into several records"
        )
    return Checked(position, {"_id": id, **fields}, size + len(id) + 16)


def _check_id(given: dict[str, Any]) -> str:
    """`id` stands for `_id`, as it does in Pinecone's records API; the two can't differ."""
    id = given.get("_id", given.get("id"))
    if "_id" in given and "id" in given and given["id"] != id:
        raise ValueError("_id: there is an id beside it that differs; give one of the two")
    if id is None:
        raise ValueError("_id: must be there")
    if not isinstance(id, str) or not is_id(id):
        raise ValueError(f"_id: must be a text of 1 to {MAX_ID} ASCII characters, without NUL")
    return id


def _check_field(name: str, value: Any) -> None:
    if not name or name.startswith("$") or name == "_score":
        raise ValueError(f"{shown(name)}: a field's name is not empty, not _score, and without $")
    if value is None:
        raise ValueError(f"{shown(name)}: can't be null; leave the field out")
    if isinstance(value, str | bool):
        return
    if isinstance(value, int | float):
        if not -(2**63) <= value < 2**63:  # which NaN is not either
            raise ValueError(f"{shown(name)}: must be a finite number of at most 64 bits")
    elif not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(
            f"{shown(name)}: must be a text, a number, true, false or a list of texts; "
            "an object can't be nested"
        )


def _without_duplicates(checked: Iterable[Checked], failures: list[Failure]) -> list[Checked]:
    """Which of two records with one id is meant can't be known, so neither is written."""
    by_id: dict[str, list[Checked]] = {}
    for each in checked:
        by_id.setdefault(each.id, []).append(each)
    for id, same in by_id.items():
        if len(same) > 1:
            places = ", ".join(str(each.position) for each in same[:10])
            sentence = f"_id: several records of this request have it ({places}, from 0)"
            failures += [_failure(each.position, id, sentence) for each in same]
    return [same[0] for same in by_id.values() if len(same) == 1]


def _failure(position: int, id: str | None, sentence: str) -> Failure:
    return Failure(position, id, InvalidRequest.code, sentence)


def _id_of(given: Any) -> str | None:
    id = given.get("_id", given.get("id")) if isinstance(given, dict) else None
    return id if isinstance(id, str) and len(id) <= MAX_ID else None
