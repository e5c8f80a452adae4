"""Exported records are imported unchanged."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.ingest.formats import delimited, jsonl
from service.ingest.formats.cells import format_cell, parse_cell
from service.ingest.record import Record, RecordMapping
from service.records.checking import check
from service.web.export.formats import RecordSpool, csv_encoder, csv_header, ndjson_encoder

TEXT = "chunk_text"
RULES = RecordMapping(TEXT)
NASTY = ["", " ", "1", "-0", "1e5", "true", "null", '"', '""', '"a"', "[", "[]", '["a"]', "[1]"]
NASTY += ["\r", "\n", "\r\n", "\0", "\ufeff", "'", ",", "=1+1", '"\\ud800"', "9" * 17, "1e17"]
TEXTS = st.one_of(st.sampled_from(NASTY), st.text(st.characters(codec="utf-8"), max_size=20))
VALUES = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(-(2.0**63), 2.0**63 - 2**11, allow_nan=False),
    st.lists(TEXTS, max_size=3),
)
NAMES = TEXTS.filter(
    lambda name: name and not name.startswith("$") and name not in {"_id", "id", "_score", TEXT}
)
RECORDS = st.builds(
    lambda id, text, fields: {"_id": id, TEXT: text, **fields},
    st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=20),
    TEXTS.filter(str.strip),
    st.dictionaries(NAMES, VALUES, max_size=4),
)


def same(found: Any, records: list[dict[str, Any]]) -> None:
    """Compares values and types: 1 differs from 1.0 and True."""
    items = list(found)
    assert all(isinstance(item, Record) for item in items), items
    assert [sorted(map(repr, item.fields.items())) for item in items] == [
        sorted(map(repr, record.items())) for record in records
    ]


@given(st.lists(RECORDS, min_size=1, max_size=4, unique_by=lambda record: record["_id"]))
def test_any_record_round_trips_through_ndjson_and_csv(records: list[dict[str, Any]]) -> None:
    assert check(records, TEXT)[1] == []  # each of them can be written
    lines = ndjson_encoder(None)(records)
    same(jsonl.parse(io.BytesIO(lines), "a", RULES), records)

    spool = RecordSpool(TEXT)
    spool.add(records)
    table = csv_header(spool.columns, "keep")
    table += b"".join(csv_encoder(spool.columns, TEXT, "keep")(page) for page in spool.pages())
    spool.close()
    same(delimited.parse(io.BytesIO(table), "a", RULES), records)


@given(VALUES)
@example(-(2**63))
@example(2**53 + 1)
@example(-0.0)
@example(5e-324)
def test_cell_round_trips(value: Any) -> None:
    back = parse_cell(format_cell(value))
    assert repr(back) == repr(value)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('"007"', "007"),
        ('""', ""),
        ('["a","b"]', ["a", "b"]),
        ("[]", []),
        ("[1]", "[1]"),
        ('["a",1]', '["a",1]'),
        ('"a" b', '"a" b'),
        ('"', '"'),
        ("[", "["),
        ('"\\ud800"', '"\\ud800"'),
        ("1e+17", 1e17),
        ("1e17", "1e17"),
        ("9223372036854775807e0", 2**63 - 1),
        ("9223372036854775808e0", "9223372036854775808e0"),
        ("5e0", 5.0),
        ("12345678901234567890.5", "12345678901234567890.5"),
    ],
)
def test_parse_cell_reads_canonical_json_only(cell: str, value: Any) -> None:
    assert repr(parse_cell(cell)) == repr(value)
