"""Parses and formats the cells of a CSV file.

A cell that is a JSON number, true, false, a quoted string or a list of strings has that value. Any
other cell is a string, and so is a number that would lose digits.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
LARGE = re.compile(r"(-?[1-9][0-9]{15,18})e0")  # as whole numbers beyond EXACT are written
EXACT = 2**53  # whole numbers beyond lose digits in most programs, and in an index of floats
LARGEST = 2**63
LONGEST_NUMBER = 25
LITERAL = {'"': '"', "[": "]"}


def parse_cell(cell: str) -> Any:
    """The value of a cell."""
    if cell in {"true", "false"}:
        return cell == "true"
    if cell[:1] in LITERAL:
        return _literal(cell)
    if len(cell) > LONGEST_NUMBER or not NUMBER.fullmatch(cell):
        return cell
    if (large := LARGE.fullmatch(cell)) and -LARGEST <= int(large[1]) < LARGEST:
        return int(large[1])
    number = json.loads(cell)
    if abs(number) <= EXACT:
        return number
    exact = isinstance(number, float) and -LARGEST <= number < LARGEST
    return number if exact and cell == format_cell(number) else cell


def format_cell(value: Any) -> str:
    """The cell that is parsed as this value. A string is left unquoted if possible."""
    if isinstance(value, str):
        return value if value and _is_unchanged(value) else orjson.dumps(value).decode()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > EXACT:
        return f"{value}e0"  # otherwise it would be parsed as a string
    return orjson.dumps(value).decode()


def _is_unchanged(text: str) -> bool:
    return parse_cell(text) is text


def _literal(cell: str) -> Any:
    if cell[-1] != LITERAL[cell[0]]:
        return cell
    try:
        value = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell
    if isinstance(value, str) or all(isinstance(each, str) for each in value):
        return value
    return cell
