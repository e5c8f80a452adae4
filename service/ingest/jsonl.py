"""Parser for JSON Lines: one object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

from service.ingest.reading import START, TOO_LONG, Position, read_lines
from service.ingest.record import InvalidRecord, Item, RecordError, RecordMapping

KINDS = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
AN_ARRAY = (
    "starts with `[`: it is one JSON array, and what is loaded is an object a line; "
    "`jq -c '.[]'` turns one into the other"
)


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
    first = after == START
    for position, raw in read_lines(stream, after):
        where, number = f"{name} line {position.lines}", position.lines
        if raw is None:
            yield RecordError(where, TOO_LONG, number, position)
            continue
        line = raw.strip()
        if not line:
            continue
        if first and line.startswith(b"["):
            yield RecordError(where, AN_ARRAY, number, position)
            return
        first = False
        try:
            value = _decoded(line)
        except UnicodeDecodeError:
            yield RecordError(where, rules.not_valid(encoding), number, position)
        except InvalidRecord as exc:
            yield RecordError(where, str(exc), number, position)
        else:
            yield rules.record(where, value, number, position)


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise
    except json.JSONDecodeError as exc:
        raise InvalidRecord(f"is not JSON: {exc.msg} at character {exc.pos + 1}") from None
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
