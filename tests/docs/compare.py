"""Comparison of documented output with actual output, apart from what changes with each run.

In both forms `…` is a wildcard: inside a string for any characters, as a whole JSON string for any
value, as the last item of a JSON list for any further items, and as a whole line for any lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

# Values of these keys change with each run or each machine; their types do not.
VOLATILE = {
    "age_ms",
    "bytes",
    "bytes_read",
    "created_at",
    "cursor",
    "eta_s",
    "finished_at",
    "id",
    "ms",
    "progress",
    "rate",
    "request_id",
    "revision",
    "score",
    "started_at",
    "uptime_s",
}
ELLIPSIS = "…"
DECIMAL = re.compile(r"-?\d+\.\d+")


def json_differences(expected: Any, actual: Any, path: str = "$") -> Iterator[str]:
    """Each difference in keys, ids and other stable values, as a sentence."""
    if expected == ELLIPSIS:
        return
    if isinstance(expected, dict) and isinstance(actual, dict):
        yield from _object_differences(expected, actual, path)
    elif isinstance(expected, list) and isinstance(actual, list):
        yield from _list_differences(expected, actual, path)
    elif isinstance(expected, str) and isinstance(actual, str):
        if not _matches(expected, actual):
            yield f"{path}: documented {expected!r}, actually {actual!r}"
    elif _is_number(expected) and _is_number(actual):
        if expected != actual:
            yield f"{path}: documented {expected}, actually {actual}"
    elif expected != actual:
        yield f"{path}: documented {expected!r}, actually {actual!r}"


def text_differences(expected: str, actual: str) -> Iterator[str]:
    """The first difference between two outputs; decimal numbers and spacing may differ."""
    pattern = "\n".join(_line_pattern(line) for line in expected.strip("\n").splitlines())
    lines = "\n".join(_normal(line) for line in actual.strip("\n").splitlines())
    if not re.fullmatch(pattern, lines):
        yield f"documented:\n{expected}\nactually:\n{actual}"


def contains(expected: Any, actual: Any) -> bool:
    """Whether some value inside of `actual` is like `expected`."""
    if not list(json_differences(expected, actual)):
        return True
    inner = actual.values() if isinstance(actual, dict) else actual
    return isinstance(actual, dict | list) and any(contains(expected, each) for each in inner)


def load_last_json(text: str) -> Any:
    """The last of the JSON values that a text consists of; raises `ValueError` for other text."""
    decoder = json.JSONDecoder()
    rest = text.lstrip()
    while True:
        value, end = decoder.raw_decode(rest)
        rest = rest[end:].lstrip()
        if not rest:
            return value


def _object_differences(
    expected: dict[str, Any], actual: dict[str, Any], path: str
) -> Iterator[str]:
    if expected.keys() != actual.keys():
        yield f"{path}: documented keys {sorted(expected)}, actual keys {sorted(actual)}"
        return
    for key, value in expected.items():
        if key not in VOLATILE:
            yield from json_differences(value, actual[key], f"{path}.{key}")
        elif _kind(value) != _kind(actual[key]):
            yield f"{path}.{key}: documented {value!r}, actually {actual[key]!r}"


def _list_differences(expected: list[Any], actual: list[Any], path: str) -> Iterator[str]:
    if expected and expected[-1] == ELLIPSIS:
        expected = expected[:-1]
        actual = actual[: len(expected)]
    if len(expected) != len(actual):
        yield f"{path}: documented {len(expected)} items, actually {len(actual)}"
        return
    expected, actual = _stages_sorted(expected), _stages_sorted(actual)
    for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
        yield from json_differences(one, other, f"{path}[{index}]")


def _stages_sorted(items: list[Any]) -> list[Any]:
    """Stages by name: the legs of a search end in either order."""
    if all(isinstance(item, dict) and "stage" in item for item in items):
        return sorted(items, key=lambda item: str(item["stage"]))
    return items


def _matches(expected: str, actual: str) -> bool:
    parts = [re.escape(part) for part in expected.split(ELLIPSIS)]
    return re.fullmatch(".*".join(parts), actual, re.DOTALL) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    return "number" if _is_number(value) else type(value).__name__


def _line_pattern(line: str) -> str:
    if line.strip() == ELLIPSIS:
        return r"[\s\S]*?"
    return ".*".join(re.escape(part.rstrip()) for part in _normal(line).split(ELLIPSIS))


def _normal(line: str) -> str:
    return " ".join(DECIMAL.sub("0.0", line).split())
