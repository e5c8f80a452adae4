"""Parser for CSV and TSV: a header, then one record per row, as spreadsheets write and read them.

`cells.py` defines the value of a cell: `1.5` is a number, `true` is a boolean, `["a"]` a list;
`007`, `1,5` and `True` are strings. The text and the id are always strings. Empty cells are left
out, a short row has empty cells at its end, and a row of empty cells is none.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from service.ingest.formats.cells import parse_cell
from service.ingest.formats.sniffing import (
    decimal_comma_columns,
    declared_delimiter,
    parse_rows,
    sniff_delimiter,
    without_empty_end,
)
from service.ingest.reading import MAX_LINE, START, TOO_LONG, Position, read_lines
from service.ingest.record import InvalidRecord, Item, RecordError, RecordMapping

UNDECODABLE = "can't be decoded"
MAX_NAMED = 5  # columns in a sentence
CSV_ERRORS = {
    "expected after": 'has a quote in a quoted cell: write it twice ("")',
    "unexpected end": 'has a quote that is never closed: close it, or write it twice ("")',
    "new-line character": "has a CR within a cell without quotes: put the cell in quotes",
}


def is_delimiter(value: str) -> bool:
    """Whether this can separate cells."""
    return len(value) == 1 and value.isascii() and value not in '"\r\n'


def shown(delimiter: str) -> str:
    """A delimiter in a sentence."""
    return "tabs" if delimiter == "\t" else f"`{delimiter}`"


def sniff(lines: Sequence[str], rules: RecordMapping, usual: str) -> str:
    """The delimiter of a file that begins with `lines`."""
    wanted = {rules.text_column or "", *rules.text_columns(()), *_texts(rules, ())}
    return sniff_delimiter(lines, usual, wanted)


def inspect(
    lines: Sequence[str], rules: RecordMapping, delimiter: str, *, strings: bool
) -> tuple[bool, list[str]]:
    """Whether a space follows each delimiter, and what a user should know of the columns."""
    if lines and declared_delimiter(lines[0]):
        lines = lines[1:]
    table = parse_rows(lines, delimiter)
    if not table:
        return False, []
    header, *rows = table
    spaced = len(header) > 1 and all(cell.startswith(" ") for cell in header[1:])
    if spaced:
        header = [cell.lstrip() for cell in header]
    names = column_names(header)
    notes = []
    for index, (cell, name) in enumerate(zip(header, names, strict=True)):
        if cell and cell != name:
            notes.append(f"the column {cell!r} is there again; this one is named {name!r}")
        elif not cell and any(row[index].strip() for row in rows if len(row) > index):
            notes.append(f"column {index + 1} has no name, and is named {name!r}")
    if len(notes) > MAX_NAMED:
        notes[MAX_NAMED:] = [f"and {len(notes) - MAX_NAMED} more columns are named like that"]
    found = [] if strings else decimal_comma_columns(names, rows, _texts(rules, names))
    if found:
        many = "1 column looks" if len(found) == 1 else f"{len(found)} columns look"
        some = ", ".join(found[:MAX_NAMED]) + ", …" * (len(found) > MAX_NAMED)
        notes.append(
            f"{many} like numbers with decimal commas ({some}); they stay texts: "
            "for numbers, write decimal points"
        )
    return spaced, notes


def parse(
    stream: BinaryIO,
    name: str,
    rules: RecordMapping,
    after: Position = START,
    *,
    delimiter: str = ",",
    strings: bool = False,
    spaced: bool = False,
    encoding: str = "utf-8",
) -> Iterator[Item]:
    """The items of a file that follow the position `after`. The header is always read.

    With `strings`, every cell is a string. With `spaced`, a space after a delimiter is none of the
    cell. `encoding` is the original one, for error messages.
    """
    rows = _Rows(stream, delimiter, spaced, START)
    line, row = next(iter(rows), (0, None))
    if isinstance(row, list) and line == 1 and declared_delimiter(delimiter.join(row)):
        line, row = next(iter(rows), (0, None))
    if row is None:
        return
    header = row if isinstance(row, str) else column_names(row)
    if reason := _header_error(header, rules, encoding):
        if after.offset < rows.after.offset:  # otherwise it was reported before
            yield RecordError(f"{name} line {line}", reason, line, rows.after)
        return
    texts, width = _texts(rules, header), len(header)
    if after.offset > rows.after.offset:
        rows = _Rows(stream, delimiter, spaced, after)
    for line, row in rows:
        where, end = f"{name} line {line}", rows.after
        if isinstance(row, str):
            reason = rules.not_valid(encoding) if row == UNDECODABLE else row
            yield RecordError(where, reason, line, end)
        elif len(row) > width and (cells := len(without_empty_end(row))) > width:
            sentence = (
                f"has {cells} cells, and the header has {width}: "
                f"put a cell with {shown(delimiter)} in it in double quotes"
            )
            yield RecordError(where, sentence, line, end)
        else:
            keep = (
                (column, cell if strings or column in texts else parse_cell(cell))
                for column, cell in zip(header, row, strict=False)
                if cell
            )
            yield rules.record(where, dict(keep), line, end)


def column_names(header: Sequence[str]) -> list[str]:
    """Unique names: a column without a name is `column_3`, and a second `a` is `a_2`."""
    given, names = frozenset(header), dict[str, None]()
    counts: dict[str, int] = {}  # the last number of each name, so that a wide header is no work
    for number, cell in enumerate(header, 1):
        name = base = cell or f"column_{number}"
        count = counts.get(base, 1)
        while name in names or (name != cell and name in given):
            count += 1
            name = f"{base}_{count}"
        counts[base] = count
        names[name] = None
    return list(names)


def _texts(rules: RecordMapping, header: Sequence[str]) -> set[str]:
    ids = {rules.id_column} if rules.id_column else {"_id", "id"}
    columns = rules.text_columns(header)
    return {rules.text_field, *ids, *(columns if len(columns) == 1 else ())}


def _header_error(header: list[str] | str, rules: RecordMapping, encoding: str) -> str | None:
    if header == UNDECODABLE:
        return rules.not_valid(encoding)
    if isinstance(header, str):
        return header
    texts = "text_template" if rules.text_template else "text_field"
    for column, option in (
        *((name, texts) for name in rules.text_columns(header)),
        (rules.id_column, "id_field"),
    ):
        if column and column not in header:
            return (
                f"is the header, and has no column {column!r} but "
                f"{', '.join(map(repr, header))[:300]}"
                f": give another {rules.named(option)}, or the right {rules.named('delimiter')}"
            )
    return None


class _Rows:
    """Rows with their first line number. A row that can't be parsed is an error sentence instead.

    `after` is the position after the last row.
    """

    def __init__(self, stream: BinaryIO, delimiter: str, spaced: bool, after: Position) -> None:
        self.after = after
        self._lines = read_lines(stream, after)
        self._held = 0
        self._delimiter = delimiter
        self._spaced = spaced
        csv.field_size_limit(MAX_LINE)  # the row's own limit comes first
        self._reader = self._new_reader()

    def __iter__(self) -> Iterator[tuple[int, list[str] | str]]:
        while True:
            start, self._held = self.after.lines + 1, 0
            try:
                row: list[str] | str = next(self._reader)
            except StopIteration:
                return
            except InvalidRecord as exc:
                row = str(exc)
                self._reader = self._new_reader()
            except csv.Error as exc:
                row = f"is not CSV: {_explained(exc)}"
            if row and any(row):
                yield start, row

    def _new_reader(self) -> Any:
        return csv.reader(
            self._feed(),
            delimiter=self._delimiter,
            skipinitialspace=self._spaced,
            strict=True,
        )

    def _feed(self) -> Iterator[str]:
        for position, raw in self._lines:
            self.after = position
            self._held += len(raw or b"")
            if raw is None or self._held > MAX_LINE:
                raise InvalidRecord(TOO_LONG + ("" if raw is None else ": is a quote left open?"))
            try:
                yield raw.decode()
            except UnicodeDecodeError:
                raise InvalidRecord(UNDECODABLE) from None


def _explained(error: csv.Error) -> str:
    return next((text for part, text in CSV_ERRORS.items() if part in str(error)), str(error))
