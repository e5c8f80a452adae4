"""Parser for JSON: one object per line, or an array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

from service.ingest.formats.json_array import InvalidArray, read_elements
from service.ingest.reading import START, TOO_LONG, Position, read_lines
from service.ingest.record import InvalidRecord, Item, RecordError, RecordMapping

KINDS = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
GOES_ON = "; if the object goes on in the next line, `jq -c .` writes each in one line"


def parse(
    stream: BinaryIO,
    name: str,
    rules: RecordMapping,
    after: Position = START,
    encoding: str = "utf-8",
) -> Iterator[Item]:
    """The items of a file that follow the position `after`. Blank lines are skipped.

    `encoding` is the original one, for error messages.
    """
    for position, raw in read_lines(stream, after):
        where, number = f"{name} line {position.lines}", position.lines
        if raw is None:
            yield RecordError(where, TOO_LONG, number, position)
            continue
        line = raw.strip()
        if not line:
            continue
        yield _item(line, where, rules, position, encoding)


def parse_array(
    stream: BinaryIO,
    name: str,
    rules: RecordMapping,
    after: Position = START,
    encoding: str = "utf-8",
) -> Iterator[Item]:
    """The items of an array that follow the position `after`, numbered in the place of lines."""
    position = after
    try:
        for position, raw in read_elements(stream, after):
            where = f"{name} record {position.lines}"
            if raw is None:
                yield RecordError(where, TOO_LONG, position.lines, position)
            else:
                yield _item(raw, where, rules, position, encoding)
    except InvalidArray as exc:
        end = position._replace(items=1)
        yield RecordError(name, f"{exc} (after record {position.lines})", None, end)


def _item(raw: bytes, where: str, rules: RecordMapping, position: Position, encoding: str) -> Item:
    try:
        value = _decoded(raw)
    except UnicodeDecodeError:
        return RecordError(where, rules.not_valid(encoding), position.lines, position)
    except InvalidRecord as exc:
        return RecordError(where, str(exc), position.lines, position)
    return rules.record(where, value, position.lines, position)


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise
    except json.JSONDecodeError as exc:
        way_out = GOES_ON if raw.startswith(b"{") and exc.pos >= len(exc.doc) else ""
        raise InvalidRecord(f"is not JSON: {exc.msg} at character {exc.pos + 1}{way_out}") from None
    except RecursionError:
        raise InvalidRecord("is nested too deeply") from None
    except InvalidRecord:
        raise
    except ValueError:  # a whole number of thousands of digits
        raise InvalidRecord("holds a number of too many digits") from None
    if not isinstance(value, dict):
        raise InvalidRecord(f"must be a JSON object, and is {KINDS.get(type(value), 'a number')}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRecord(f"has the field {twice!r} twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise InvalidRecord(f"holds {name}, which is no JSON number")
