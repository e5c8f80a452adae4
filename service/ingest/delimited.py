"""Parser for CSV and TSV: a header, then one record per row.

`cells.py` defines the value of a cell: `1.5` is a number, `true` is a boolean, `["a"]` a list;
`007`, `1,5` and `True` are strings. The text and the id are always strings. Empty cells are left
out.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from service.ingest.cells import parse_cell
from service.ingest.reading import MAX_LINE, NOT_UTF8, START, TOO_LONG, Position, read_lines
from service.ingest.record import InvalidRecord, Item, RecordError, RecordMapping


def is_delimiter(value: str) -> bool:
    """Whether this can separate cells."""
    return len(value) == 1 and value.isascii() and value not in '"\r\n'


def parse(
    stream: BinaryIO,
    name: str,
    rules: RecordMapping,
    after: Position = START,
    *,
    delimiter: str = ",",
    strings: bool = False,
) -> Iterator[Item]:
    """The items of a file that follow the position `after`. The header is always read.

    With `strings`, every cell is a string.
    """
    rows = _Rows(stream, delimiter, START)
    line, row = next(iter(rows), (0, None))
    if row is None:
        return
    if reason := _header_error(row, rules):
        yield RecordError(f"{name} line {line}", reason, line, rows.after)
        return
    assert isinstance(row, list), "a header with an error was reported"  # noqa: S101
    header, texts = row, _texts(rules)
    if after.offset > rows.after.offset:
        rows = _Rows(stream, delimiter, after)
    for line, row in rows:
        where, end = f"{name} line {line}", rows.after
        if isinstance(row, str):
            yield RecordError(where, row, line, end)
        elif len(row) != len(header):
            sentence = f"has {len(row)} cells, and the header has {len(header)}"
            yield RecordError(where, sentence, line, end)
        else:
            keep = (
                (column, cell if strings or column in texts else parse_cell(cell))
                for column, cell in zip(header, row, strict=True)
                if cell
            )
            yield rules.record(where, dict(keep), line, end)


def _texts(rules: RecordMapping) -> set[str]:
    ids = {rules.id_column} if rules.id_column else {"_id", "id"}
    return {rules.text_field, rules.text_column or "", *(name for name in ids if name)}


def _header_error(row: list[str] | str, rules: RecordMapping) -> str | None:
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
    """Rows with their first line number. A row that can't be parsed is an error sentence instead.

    `after` is the position after the last row.
    """

    def __init__(self, stream: BinaryIO, delimiter: str, after: Position) -> None:
        self.after = after
        self._lines = read_lines(stream, after)
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
            except InvalidRecord as exc:
                row = str(exc)
                self._reader = csv.reader(self._feed(), delimiter=self._delimiter, strict=True)
            except csv.Error as exc:
                row = f"is not CSV: {exc}"
            if row:
                yield start, row

    def _feed(self) -> Iterator[str]:
        for position, raw in self._lines:
            self.after = position
            self._held += len(raw or b"")
            if raw is None or self._held > MAX_LINE:
                raise InvalidRecord(TOO_LONG)
            try:
                yield raw.decode()
            except UnicodeDecodeError:
                raise InvalidRecord(NOT_UTF8) from None
