"""Tests for CSV exports whose texts a spreadsheet must not run as formulas."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.export.formats import csv_encoder, csv_header
from service.web.export.formulas import FORMULA_STARTS, escape_formulas
from tests.records.test_api import check_error
from tests.records.test_export import write

DANGEROUS = st.text(alphabet="=+-@＝;,\t\r\n\"' a0", max_size=12)
NAMES = ("chunk_text", "b", "=c")


@pytest.mark.parametrize(
    ("cell", "escaped"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1", "'＝1"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("a;=1", "a;'=1"),
        ('a;"=1"', 'a;\'"=1"'),
        ("a\n- b", "a\n'- b"),
        ("a=1, b-2 @c", "a=1, b-2 @c"),
        ("'=1", "'=1"),
        ("", ""),
    ],
)
def test_escape_formulas(cell: str, escaped: str) -> None:
    assert escape_formulas(cell) == escaped


@given(st.lists(st.fixed_dictionaries({"_id": DANGEROUS, **dict.fromkeys(NAMES, DANGEROUS)})))
def test_escaped_csv_has_no_formula_whatever_separates_the_cells(
    records: list[dict[str, Any]],
) -> None:
    encode = csv_encoder(NAMES, "chunk_text", "escape")
    text = (csv_header(NAMES, "escape") + encode(records)).decode()
    for delimiter in ",;\t":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            for cell in row:
                assert not cell.startswith(tuple(FORMULA_STARTS)), (cell, delimiter)


async def test_export_escapes_formulas_only_if_asked(api: httpx.AsyncClient) -> None:
    record = {"_id": "=1+1", "chunk_text": "-2", "=name": "@a", "n": -3, "x": -0.5, "tags": ["=b"]}
    await write(api, [record])
    values = {"n": "-3", "tags": '["=b"]', "x": "-0.5"}
    kept = {"_id": "=1+1", "chunk_text": "-2", "=name": "@a", **values}
    escaped = {"_id": "'=1+1", "chunk_text": "'-2", "'=name": "'@a", **values}
    for query, expected in (
        ("", kept),
        ("&csv_formulas=keep", kept),
        ("&csv_formulas=escape", escaped),
        ("&csv_formulas=escape&fields=%3Dname", {"_id": "'=1+1", "'=name": "'@a"}),
    ):
        answer = await api.get(f"/api/export?format=csv{query}")
        assert list(csv.DictReader(io.StringIO(answer.text))) == [expected]


@pytest.mark.parametrize(
    "query", ["csv_formulas=escape", "csv_formulas=escape&format=ndjson", "csv_formulas=no"]
)
async def test_export_rejects_escaped_formulas_in_other_formats(
    local: httpx.AsyncClient, query: str
) -> None:
    body = check_error(await local.get(f"/api/export?{query}"), 422, "invalid_request")
    assert body["errors"][0]["loc"] == ["csv_formulas"]
