"""Finds out how a table is written: its delimiter, and columns of numbers with decimal commas.

csv.Sniffer looks for characters that are equally frequent in all lines. In tables with rows of
different lengths it finds a letter, or nothing. Here four characters are tried by parsing, and the
columns that have to be there are known.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import islice

DELIMITERS = ",;\t|"
MAX_ROWS = 100
DECLARED = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)  # a first line that Excel understands
DECIMAL_COMMA = re.compile(r"[+-]?(\d{1,3}([. ]\d{3})+|\d+),\d+( ?[%€])?")
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")


def declared_delimiter(line: str) -> str | None:
    """The delimiter that a line `sep=;` declares; None if it is another line."""
    found = DECLARED.fullmatch(line)
    return found[1] if found else None


def sniff_delimiter(lines: Sequence[str], usual: str, wanted: Collection[str]) -> str:
    """The delimiter of lines that begin with a header. `wanted` columns should be in it."""
    if lines and (declared := declared_delimiter(lines[0])):
        return declared

    def score(delimiter: str) -> tuple[int, float, int, bool]:
        rows = [without_empty_end(row) for row in parse_rows(lines, delimiter)]
        header = rows[0] if rows else []
        if len(header) < 2:  # noqa: PLR2004 - it separates nothing
            return 0, 0.0, 0, delimiter == usual
        found = len({name.strip() for name in header}.intersection(wanted))
        same = sum(len(row) == len(header) for row in rows) / len(rows)
        return found, same, len(header), delimiter == usual

    return max(DELIMITERS, key=score)


def parse_rows(lines: Iterable[str], delimiter: str) -> list[list[str]]:
    """The first rows that have a cell which is not empty."""
    rows = csv.reader(lines, delimiter=delimiter)
    try:
        return list(islice((row for row in rows if any(row)), MAX_ROWS))
    except csv.Error:
        return []


def without_empty_end(row: list[str]) -> list[str]:
    """The cells up to the last one that is not empty."""
    count = len(row)
    while count and not row[count - 1]:
        count -= 1
    return row[:count]


def decimal_comma_columns(
    names: Sequence[str], rows: Iterable[Sequence[str]], texts: Collection[str]
) -> list[str]:
    """The columns whose cells are all like `1,5` or `1.234,5`, except the texts."""
    rows = list(rows)
    found = []
    for index, name in enumerate(names):
        cells = [row[index].strip() for row in rows if index < len(row) and row[index].strip()]
        if (
            name not in texts
            and cells
            and all(map(DECIMAL_COMMA.fullmatch, cells))
            and not all(map(THOUSANDS.fullmatch, cells))
        ):
            found.append(name)
    return found
