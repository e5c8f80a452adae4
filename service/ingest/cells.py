"""One cell of a CSV: what it stands for, and how something is written so that it stands for that.

Knows nothing of rows. A cell that is written as JSON writes a number, true, false, a text in quotes
or a list of texts is that; any other is a text. Numbers that would lose digits are texts, too.
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


def typed(cell: str) -> Any:
    """What a cell stands for."""
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
    return number if exact and cell == written(number) else cell


def written(value: Any) -> str:
    """The cell that stands for a value, whatever type it is. A text stays as it is if it can."""
    if isinstance(value, str):
        return value if value and _stays(value) else orjson.dumps(value).decode()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > EXACT:
        return f"{value}e0"  # so that it is not taken for a name made of digits
    return orjson.dumps(value).decode()


def _stays(text: str) -> bool:
    return typed(text) is text


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
