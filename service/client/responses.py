"""Parsers from the service's JSON to the types in `models`.

A member that is missing or has another type raises `GarbledAnswer`. Unknown members are ignored, so
that a client works with newer services.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from service.client.errors import GarbledAnswer
from service.client.models import (
    Answer,
    ApiKey,
    Failure,
    IdPage,
    ImportPage,
    Job,
    Move,
    NamespaceStats,
    Readiness,
    Receipt,
    Record,
    Result,
    SearchContext,
    SearchEvent,
    Stats,
    Written,
)

T = TypeVar("T")
STAGES = ("leg", "fused", "reranked", "done")


def decode_json(data: bytes | str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise GarbledAnswer("The service did not answer with JSON: is it a Cascade?") from exc


def _converter(kind: type[T]) -> Callable[[Any], T]:
    """A parser for a type whose members have the names of the JSON's members."""

    def parse(body: Any) -> T:
        try:
            return msgspec.convert(body, kind)
        except msgspec.ValidationError as exc:
            raise GarbledAnswer(f"The response does not have the expected shape: {exc}") from exc

    return parse


_receipt = _converter(Receipt)
job = _converter(Job)
stats = _converter(Stats)
readiness = _converter(Readiness)
id_page = _converter(IdPage)
import_page = _converter(ImportPage)
_api_key = _converter(ApiKey)
_pairs = _converter(tuple[tuple[int, int], ...])
_names = _converter(tuple[str, ...])


def answer(body: Any, context: SearchContext) -> Answer:
    """A page of results."""
    return Answer(
        results=_results(body, context),
        degraded=_member(body, "degraded", bool),
        cursor=_optional(body, "cursor", str),
        receipt=_receipt(_member(body, "receipt", dict)),
        context=context,
        raw=body,
    )


def search_event(stage: str, body: Any, context: SearchContext) -> SearchEvent | None:
    """One event of a search; None if the stage is unknown, as in a newer service."""
    if stage not in STAGES:
        return None
    return SearchEvent(
        stage=stage,
        results=_results(body, context),
        moved=tuple(_move(each) for each in _optional(body, "moved", list) or ()),
        leg=_optional(body, "leg", str),
        answer=answer(body, context) if stage == "done" else None,
    )


def written(body: Any) -> Written:
    failed = _member(body, "failed", list)
    return Written(
        _member(body, "written", int),
        tuple(_failure(each) for each in failed),
        *(_optional(body, name, int) for name in ("created", "replaced", "unchanged")),
    )


def deleted(body: Any) -> int | None:
    """The number of deleted records, if the service knows it."""
    return _optional(body, "deleted", int)


def namespaces(body: Any) -> dict[str, NamespaceStats]:
    return _member(body, "namespaces", dict[str, NamespaceStats])


def api_key(body: Any) -> ApiKey:
    return _api_key({**_object(body), "raw": body})


def api_keys(body: Any) -> tuple[ApiKey, ...]:
    return tuple(api_key(each) for each in _member(body, "keys", list))


def record(body: Any) -> Record:
    _member(body, "_id", str)
    return dict(body)


def alive(body: Any) -> None:
    """Checks that the response comes from a Cascade."""
    _member(body, "status", str)


def _results(body: Any, context: SearchContext) -> tuple[Result, ...]:
    return tuple(_result(each, context) for each in _member(body, "results", list))


def _result(body: Any, context: SearchContext) -> Result:
    """The members that the search asked for are the service's; others are fields of the record."""
    id, score = _member(body, "_id", str), _member(body, "score", float)
    fields = {name: value for name, value in body.items() if name not in {"_id", "score"}}
    added: dict[str, Any] = {}
    if context.mode == "cascading":
        added["found_by"] = _names(fields.pop("found_by", []))
    if context.highlight:
        added["highlights"] = _pairs(fields.pop("highlights", []))
    if context.explain:
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
        raise GarbledAnswer(f"The response has no {name!r}: is it a Cascade?")
    value = body[name]
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise GarbledAnswer(f"{name!r} in the response: {exc}") from exc


def _optional(body: Any, name: str, kind: type[T]) -> T | None:
    return None if _object(body).get(name) is None else _member(body, name, kind)


def _object(body: Any) -> Mapping[str, Any]:
    if isinstance(body, Mapping):
        return body
    raise GarbledAnswer(f"The response has {type(body).__name__} where an object is expected")
