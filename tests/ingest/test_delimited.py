"""CSV and TSV: cells, types and invalid rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ingest.formats.cells import parse_cell
from service.ingest.formats.delimited import column_names, parse
from service.ingest.reading import MAX_LINE
from service.ingest.record import Record, RecordMapping
from tests.ingest.parsing import error_messages, parse_files, records, write_file


def test_row_is_record_without_empty_cells(tmp_path: Path) -> None:
    path = write_file(
        tmp_path / "a.csv",
        '\ufeffid,chunk_text,year,ok\r\n1,"One, ""quoted""",2024,true\r\n\r\n'
        '2,"Two\nlines",,False\r\n',
    )
    assert records(parse_files(path)) == [
        {"_id": "1", "chunk_text": 'One, "quoted"', "year": 2024, "ok": True},
        {"_id": "2", "chunk_text": "Two\nlines", "ok": "False"},
    ]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("0", 0),
        ("-12", -12),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("false", False),
        ("007", "007"),
        ("+1", "+1"),
        ("1.", "1."),
        (".5", ".5"),
        ("1,5", "1,5"),
        (" 1", " 1"),
        ("TRUE", "TRUE"),
        ("NaN", "NaN"),
        ("1e999", "1e999"),
        ("٣", "٣"),
        ("9007199254740993", "9007199254740993"),
        ("9" * 400, "9" * 400),
    ],
)
def test_cell_is_number_only_in_json_notation(cell: str, value: Any) -> None:
    assert parse_cell(cell) == value
    assert type(parse_cell(cell)) is type(value)


def test_cells_stay_strings_on_request_and_text_always(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.tsv", "key\tbody\tyear\n007\t42\t2024\n")
    rules: dict[str, Any] = {"id_column": "key", "text_column": "body"}
    assert records(parse_files(path, **rules)) == [{"_id": "007", "chunk_text": "42", "year": 2024}]
    assert records(parse_files(path, strings=True, **rules))[0]["year"] == "2024"


def test_invalid_row_is_reported_with_its_first_line(tmp_path: Path) -> None:
    path = write_file(
        tmp_path / "a.csv",
        b'chunk_text,n\n"one\ntwo",1\nthree\nfour,1,2\n"fi"ve,1\n\xff,1\nsix,1\n',
    )
    items = parse_files(path)
    assert [record["chunk_text"] for record in records(items)] == ["one\ntwo", "three", "six"]
    assert error_messages(items, tmp_path) == [
        "a.csv line 5: has 3 cells, and the header has 2: "
        "put a cell with `,` in it in double quotes",
        'a.csv line 6: is not CSV: has a quote in a quoted cell: write it twice ("")',
        "a.csv line 7: is not valid UTF-8: say which encoding it has, "
        "such as --encoding windows-1251",
    ]


def test_unclosed_quote_is_read_in_bounded_memory() -> None:
    rows = b'chunk_text\ngood\n"never closed\n' + b"x" * 999 + b"\n"
    stream = io.BytesIO(rows + (b"y" * 999 + b"\n") * (3 * MAX_LINE // 1000))
    items = list(parse(stream, "a.csv", RecordMapping("chunk_text")))
    assert isinstance(items[0], Record)
    assert str(items[1]).startswith("a.csv line 3: is longer than")
    assert len(items) > 2  # it goes on after that


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a;b\n1;2\n", "has no column 'chunk_text' but 'a', 'b': give another --text-field, or"),
        ('"chunk_text', "is not CSV: has a quote that is never closed"),
    ],
)
def test_invalid_header_is_one_error(tmp_path: Path, content: str, sentence: str) -> None:
    items = parse_files(write_file(tmp_path / "a.csv", content))
    (error,) = error_messages(items, tmp_path)
    assert sentence in error
    assert not records(items)


def test_delimiter_is_configurable(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.csv", "chunk_text;n\nx;1\n")
    assert records(parse_files(path, delimiter=";"))[0]["n"] == 1


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), min_size=1)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_csv_writer_output_round_trips(rows: list[tuple[str, str]]) -> None:
    written = io.StringIO()
    csv.writer(written).writerows([("chunk_text", "other"), *rows])
    rules = RecordMapping("chunk_text", id_column=None)
    items = list(parse(io.BytesIO(written.getvalue().encode()), "a", rules, strings=True))
    assert len(items) == len(rows)
    for item, (text, other) in zip(items, rows, strict=True):
        if isinstance(item, Record):
            assert (item.fields["chunk_text"], item.fields["other"]) == (text, other)
        else:
            assert not text.strip()


class CountedName(str):
    """A name that counts how often it is compared."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        CountedName.comparisons += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_names_of_a_wide_header_are_found_in_linear_time() -> None:
    """Otherwise a small upload would occupy the worker of imports for hours."""
    header = [CountedName(f"c{number}") for number in range(1_000)]
    CountedName.comparisons = 0
    assert column_names([*header, *header]) == [
        *header,
        *(f"c{number}_2" for number in range(1_000)),
    ]
    assert CountedName.comparisons < 10_000


def test_column_without_a_free_name_gets_the_next_number() -> None:
    assert column_names(["a", "a", "a_2", "a", "", "column_5"]) == [
        *("a", "a_3", "a_2", "a_4", "column_5_2", "column_5"),
    ]
