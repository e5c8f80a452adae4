"""From JSON to types, or to `GarbledAnswer`. Knows no HTTP.

What has to be there has to be there, in its type; what else there is does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from service.client.errors import GarbledAnswer
from service.client.models import (
    Answer,
    Asked,
    Failure,
    IdPage,
    ImportPage,
    Job,
    Move,
    Readiness,
    Receipt,
    Record,
    Result,
    SearchEvent,
    Stats,
    Written,
)

T = TypeVar("T")
STAGES = ("leg", "fused", "reranked", "done")


def decoded(data: bytes | str) -> Any:
    """JSON, whatever it says."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise GarbledAnswer("The service does not answer with JSON: is it a Cascade?") from exc


def typed(kind: type[T]) -> Callable[[Any], T]:
    """A reader of what has the names of the type's own members."""

    def read(body: Any) -> T:
        try:
            return msgspec.convert(body, kind)
        except msgspec.ValidationError as exc:
            raise GarbledAnswer(f"The answer is not what was asked for: {exc}") from exc

    return read


_receipt = typed(Receipt)
job = typed(Job)
stats = typed(Stats)
readiness = typed(Readiness)
id_page = typed(IdPage)
import_page = typed(ImportPage)
_pairs = typed(tuple[tuple[int, int], ...])
_names = typed(tuple[str, ...])


def answer(body: Any, asked: Asked) -> Answer:
    """A page of results."""
    return Answer(
        results=_results(body, asked),
        degraded=_member(body, "degraded", bool),
        cursor=_optional(body, "cursor", str),
        receipt=_receipt(_member(body, "receipt", dict)),
        asked=asked,
        raw=body,
    )


def search_event(stage: str, body: Any, asked: Asked) -> SearchEvent | None:
    """One event of a search; None for one that is not known here."""
    if stage not in STAGES:
        return None
    return SearchEvent(
        stage=stage,
        results=_results(body, asked),
        moved=tuple(_move(each) for each in _optional(body, "moved", list) or ()),
        leg=_optional(body, "leg", str),
        answer=answer(body, asked) if stage == "done" else None,
    )


def written(body: Any) -> Written:
    failed = _member(body, "failed", list)
    return Written(_member(body, "written", int), tuple(_failure(each) for each in failed))


def deleted(body: Any) -> int | None:
    """How many, where the service knows it."""
    return _optional(body, "deleted", int)


def record(body: Any) -> Record:
    _member(body, "_id", str)
    return dict(body)


def alive(body: Any) -> None:
    """Somebody is there, and is a Cascade."""
    _member(body, "status", str)


def _results(body: Any, asked: Asked) -> tuple[Result, ...]:
    return tuple(_result(each, asked) for each in _member(body, "results", list))


def _result(body: Any, asked: Asked) -> Result:
    """What the service adds is the service's only where it was asked for: else it is a field."""
    id, score = _member(body, "_id", str), _member(body, "score", float)
    fields = {name: value for name, value in body.items() if name not in {"_id", "score"}}
    added: dict[str, Any] = {}
    if asked.mode == "cascading":
        added["found_by"] = _names(fields.pop("found_by", []))
    if asked.highlight:
        added["highlights"] = _pairs(fields.pop("highlights", []))
    if asked.explain:
        added["explain"] = fields.pop("explain", None)
    return Result(id, score, fields, **added)


def _move(body: Any) -> Move:
    id = _member(body, "_id", str)
    return Move(id, _optional(body, "from", int), _optional(body, "to", int))


def _failure(body: Any) -> Failure:
    return Failure(
        _member(body, "index", int),
        _optional(body, "_id", str),
        _member(body, "code", str),
        _member(body, "detail", str),
    )


def _member(body: Any, name: str, kind: type[T]) -> T:
    if name not in _object(body):
        raise GarbledAnswer(f"The answer has no {name!r}: is it a Cascade?")
    value = body[name]
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise GarbledAnswer(f"{name!r} in the answer: {exc}") from exc


def _optional(body: Any, name: str, kind: type[T]) -> T | None:
    return None if _object(body).get(name) is None else _member(body, name, kind)


def _object(body: Any) -> Mapping[str, Any]:
    if isinstance(body, Mapping):
        return body
    raise GarbledAnswer(f"The answer has {type(body).__name__} where an object should be")
