"""CSV and TSV: a header, then a record a row. Knows nothing of files.

What a cell stands for is said in `cells.py`: `1.5` is a number, `true` is true, `["a"]` a list of
texts; `007`, `1,5` and `True` are texts. The text and the id always are, as they stand there. Empty
cells are left out.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from service.ingest.cells import typed
from service.ingest.items import Fault, Item, Rules, Unfit
from service.ingest.reading import MAX_LINE, NOT_UTF8, START, TOO_LONG, Spot, lines


def is_delimiter(value: str) -> bool:
    """Whether cells can be kept apart by it."""
    return len(value) == 1 and value.isascii() and value not in '"\r\n'


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the cells are kept apart, and whether all of them are texts."""

    delimiter: str = ","
    strings: bool = False


def parse(
    stream: BinaryIO, name: str, rules: Rules, dialect: Dialect, after: Spot = START
) -> Iterator[Item]:
    """The records of a file, row by row, of those that come `after`. The header is read first."""
    rows = _Rows(stream, dialect.delimiter, START)
    line, row = next(iter(rows), (0, None))
    if row is None:
        return
    if fault := _header_fault(row, rules):
        yield Fault(f"{name} line {line}", fault, line, rows.after)
        return
    assert isinstance(row, list), "a header that is a fault was said"  # noqa: S101
    header, texts = row, _texts(rules)
    if after.offset > rows.after.offset:
        rows = _Rows(stream, dialect.delimiter, after)
    for line, row in rows:
        where, end = f"{name} line {line}", rows.after
        if isinstance(row, str):
            yield Fault(where, row, line, end)
        elif len(row) != len(header):
            sentence = f"has {len(row)} cells, and the header has {len(header)}"
            yield Fault(where, sentence, line, end)
        else:
            keep = (
                (column, cell if dialect.strings or column in texts else typed(cell))
                for column, cell in zip(header, row, strict=True)
                if cell
            )
            yield rules.record(where, dict(keep), line, end)


def _texts(rules: Rules) -> set[str]:
    ids = {rules.id_column} if rules.id_column else {"_id", "id"}
    return {rules.text_field, rules.text_column or "", *(name for name in ids if name)}


def _header_fault(row: list[str] | str, rules: Rules) -> str | None:
    if isinstance(row, str):
        return row
    if "" in row:
        return f"is the header, and its column {row.index('') + 1} has no name"
    if len(set(row)) < len(row):
        twice = next(column for column in row if row.count(column) > 1)
        return f"is the header, and has the column {twice!r} twice"
    for column, option in (
        (rules.text_column or rules.text_field, "text_field"),
        (rules.id_column, "id_column"),
    ):
        if column and column not in row:
            return (
                f"is the header, and has no column {column!r} but {', '.join(map(repr, row))[:300]}"
                f": give another {rules.named(option)}, or the right {rules.named('delimiter')}"
            )
    return None


class _Rows:
    """Rows with the number of the line on which each starts; a row that can't be read is a text.

    `after` is the spot after the row that was given last.
    """

    def __init__(self, stream: BinaryIO, delimiter: str, after: Spot) -> None:
        self.after = after
        self._lines = lines(stream, after)
        self._held = 0
        csv.field_size_limit(MAX_LINE)  # the row's own limit comes first
        self._reader = csv.reader(self._feed(), delimiter=delimiter, strict=True)
        self._delimiter = delimiter

    def __iter__(self) -> Iterator[tuple[int, list[str] | str]]:
        while True:
            start, self._held = self.after.lines + 1, 0
            try:
                row: list[str] | str = next(self._reader)
            except StopIteration:
                return
            except Unfit as exc:
                row = str(exc)
                self._reader = csv.reader(self._feed(), delimiter=self._delimiter, strict=True)
            except csv.Error as exc:
                row = f"is not CSV: {exc}"
            if row:
                yield start, row

    def _feed(self) -> Iterator[str]:
        for spot, raw in self._lines:
            self.after = spot
            self._held += len(raw or b"")
            if raw is None or self._held > MAX_LINE:
                raise Unfit(TOO_LONG)
            try:
                yield raw.decode()
            except UnicodeDecodeError:
                raise Unfit(NOT_UTF8) from None
