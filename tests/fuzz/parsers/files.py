"""Files of records and of texts, as imports and `cascade load` read them.

A load can be resumed after any item: the items after its position are those that follow it.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import orjson

from service.ingest.formats.cells import format_cell, parse_cell
from service.ingest.formats.encoding import is_encoding
from service.ingest.inputs import Format, Input
from service.ingest.parsing import ParseOptions, parse_input
from service.ingest.reading import START, Position
from service.ingest.record import Item, Record, RecordMapping

PLAIN = ParseOptions(RecordMapping("chunk_text"))
SPLIT = ParseOptions(RecordMapping("chunk_text", text_column="a,b", split=True, flags=False))
NESTED = ParseOptions(RecordMapping("chunk_text", "a", "b", flatten=False), strings=True)
OPTIONS = (PLAIN, SPLIT, NESTED)
MAX_RESUMED = 3


def csv_file(data: bytes) -> None:
    _check(data, "csv", _options(data))


def tsv_file(data: bytes) -> None:
    _check(data, "tsv", replace(_options(data), delimiter=";", encoding="latin-1"))


def json_lines(data: bytes) -> None:
    _check(data, "jsonl", _options(data))


def json_array(data: bytes) -> None:
    _check(b"[" + data, "jsonl", _options(data))


def text_file(data: bytes) -> None:
    _check(data, "text", PLAIN)
    _check(data, "markdown", PLAIN)
    _check(data, "markdown", replace(PLAIN, encoding="utf-16"))


def encoded_file(data: bytes) -> None:
    """The first line is the name of an encoding."""
    head, _, content = data.partition(b"\n")
    encoding = head.decode("latin1")
    if is_encoding(encoding):
        _check(content, "csv", replace(PLAIN, encoding=encoding))
        _check(content, "jsonl", replace(SPLIT, encoding=encoding))
        _check(content, "text", replace(PLAIN, encoding=encoding))


def csv_cell(data: bytes) -> None:
    """A cell has one value, and a value has a cell that is read as the same value."""
    value = parse_cell(data.decode(errors="replace"))
    again = parse_cell(format_cell(value))
    assert (type(again), again) == (type(value), value)


def _options(data: bytes) -> ParseOptions:
    """Other options for each length, since to try all of them with every input is slow."""
    return OPTIONS[len(data) % len(OPTIONS)]


def _check(data: bytes, format: Format, options: ParseOptions) -> None:
    items = _parse(data, format, options)
    for item in items:
        _check_item(item)
    for count, item in enumerate(items[:MAX_RESUMED], 1):
        if item.after == START:  # an error of the whole file
            continue
        assert _parse(data, format, options, item.after) == items[count:], (count, item)


def _check_item(item: Item) -> None:
    if isinstance(item, Record):
        orjson.dumps(item.fields)
        assert item.fields["chunk_text"].strip()
        assert 0 < len(item.fields["_id"]) <= 512
    else:
        orjson.dumps(str(item))


def _parse(
    data: bytes, format: Format, options: ParseOptions, after: Position = START
) -> list[Any]:
    stream = io.BufferedReader(io.BytesIO(data), 2**20)
    return list(parse_input(stream, Input("file", "file", None, format), options, after))
