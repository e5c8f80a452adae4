"""Resuming a file at any position yields the remaining items with the same line numbers."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.ingest.batches import batches
from service.ingest.formats import delimited, jsonl
from service.ingest.inputs import Input
from service.ingest.parsing import ParseOptions, parse_input
from service.ingest.reading import MAX_LINE, START, Position, ReadMeter, open_input
from service.ingest.record import Item, RecordError, RecordMapping

RULES = RecordMapping("chunk_text")
BOM = b"\xef\xbb\xbf"
LINES = st.sampled_from(
    [
        b'{"_id": "a", "chunk_text": "x"}',
        b'{"chunk_text": "\xc3\xa4"}',
        b"{",
        b"",
        b"  ",
        b"\xff",
        b"x" * (MAX_LINE + 5),
        b"x" * (MAX_LINE + 70_000),
    ]
)
ROWS = st.sampled_from(
    [b"a,x", b'b,"two\nlines"', b'c,"a ""quote"""', b"one", b"", b'bad"quote,"x"y', b"\xff,x"]
)
Parse = Callable[[BinaryIO, Position], list[Item]]


def json_lines(stream: BinaryIO, after: Position) -> list[Item]:
    return list(jsonl.parse(stream, "f", RULES, after))


def table(stream: BinaryIO, after: Position) -> list[Item]:
    return list(delimited.parse(stream, "f", RULES, after))


def json_array(stream: BinaryIO, after: Position) -> list[Item]:
    buffered = io.BufferedReader(cast("io.RawIOBase", stream))
    return list(parse_input(buffered, Input("f", "f", None, "jsonl"), ParseOptions(RULES), after))


def agree(parse: Parse, data: bytes) -> None:
    whole = parse(io.BytesIO(data), START)
    for number, item in enumerate(whole):
        assert item.line is not None
        assert parse(io.BytesIO(data), item.after) == whole[number + 1 :]
        if number % 3 == 0:
            packed = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(data, 1)))
            assert parse(cast("BinaryIO", packed), item.after) == whole[number + 1 :]


@settings(deadline=None, max_examples=25)
@given(st.lists(LINES, max_size=8), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_resume_at_any_position_of_json_lines(lines: list[bytes], end: bytes, bom: bool) -> None:
    agree(json_lines, BOM * bom + end.join(lines))


@settings(deadline=None, max_examples=50)
@given(st.lists(ROWS, max_size=8), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_resume_at_any_position_of_csv_rows(rows: list[bytes], end: bytes, bom: bool) -> None:
    agree(table, BOM * bom + end.join([b"", b"id,chunk_text", *rows]))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("encoding", "end"),
    [("utf-16", "\n"), ("utf-16-be", "\r\n"), ("windows-1252", "\n"), ("utf-8", "\r")],
)
def test_resume_at_any_position_of_converted_file(
    tmp_path: Path, encoding: str, end: str, packed: bool
) -> None:
    rows = ["id;chunk_text", *(f'{n};"Zoë, {n}{end}{"für " * n * 10}"' for n in range(60)), "a;b;c"]
    data = end.join(rows).encode(encoding)
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(data) if packed else data)
    options = ParseOptions(RULES)

    def items(after: Position) -> list[Item]:
        with open_input(path, ReadMeter()) as stream:
            return list(parse_input(stream, Input("", "", path, "csv"), options, after))

    whole = items(START)
    assert len(whole) == 61
    for number, item in enumerate(whole):
        assert items(item.after) == whole[number + 1 :]


@pytest.mark.parametrize("packed", [False, True])
def test_resume_skips_file_without_parsing(tmp_path: Path, packed: bool) -> None:
    """The skipped bytes count as read."""
    lines = [b'{"_id": "%d", "chunk_text": "x"}\n' % n for n in range(50_000)]
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(b"".join(lines)) if packed else b"".join(lines))
    spot = Position(49_990, sum(map(len, lines[:49_990])))
    meter = ReadMeter()
    with open_input(path, meter) as stream:
        items = json_lines(stream, spot)
    assert [item.line for item in items] == list(range(49_991, 50_001))
    assert meter.read == path.stat().st_size


@pytest.mark.parametrize(
    ("data", "parse"),
    [
        (b"id,name\n1,x\n", table),
        (b'[{"chunk_text": "x"}] more', json_array),
        (b'[{"chunk_text": "x"}, ', json_array),
    ],
)
def test_resume_after_error_of_whole_file_does_not_repeat_it(data: bytes, parse: Parse) -> None:
    error = parse(io.BytesIO(data), START)[-1]
    assert isinstance(error, RecordError)
    assert parse(io.BytesIO(data), error.after) == []


def test_batches_have_end_position() -> None:
    data = b"{\n" + b'{"_id": "1", "chunk_text": "x"}\n' * 2 + b"{\n"
    found = list(batches(json_lines(io.BytesIO(data), START), 10))
    assert [batch.after.lines for batch in found] == [2, 4]
    assert found[-1].after.offset == len(data)
    assert [line for batch in found for _, line in batch.locations] == [2, 3]


def test_batches_until_error_include_records_before_it() -> None:
    data = b'{"_id": "1", "chunk_text": "x"}\n{\n{"_id": "2", "chunk_text": "x"}\n'
    found = list(batches(json_lines(io.BytesIO(data), START), 10, until_error=True))
    assert [(len(batch.records), len(batch.errors)) for batch in found] == [(1, 0), (0, 1)]


def test_mapping_error_names_option_of_cli_or_api() -> None:
    given = {"chunk_text": "x", "_id": "1", "id": "2"}
    for flags, name in ((True, "--id-field"), (False, "id_field")):
        item = RecordMapping("chunk_text", flags=flags).record("here", given)
        assert f"differ: {name} says" in str(item)
