"""Validation of records: accepted ones, and the errors of the others."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.indexes.records import EncodedRecord
from service.records.checking import check
from service.records.upsert import cut_batches

GOOD: list[dict[str, Any]] = [
    {"_id": "a", "chunk_text": "x"},
    {"id": "a", "chunk_text": "x"},
    {"_id": "a", "id": "a", "chunk_text": "x"},
    {"_id": "a/b c?%\n\x01\x7f", "chunk_text": "x"},
    {"_id": "i" * 512, "chunk_text": "x"},
    {"_id": "a", "chunk_text": "🐈", "n": 1, "f": 1.5, "b": False, "l": ["x", ""], "e": []},
    {"_id": "a", "chunk_text": "x", "n": -(2**63), "score": 1, "_hidden": "y"},
    {"_id": "a", "chunk_text": "x" * 40_000},
]

BAD: list[tuple[Any, str]] = [
    (7, "a record is a JSON object"),
    (["_id", "a"], "a record is a JSON object"),
    ({"chunk_text": "x"}, "_id: must be given"),
    ({"_id": None, "chunk_text": "x"}, "_id: must be given"),
    ({"_id": 7, "chunk_text": "x"}, "_id: must be a text of 1 to 512 ASCII"),
    ({"_id": "", "chunk_text": "x"}, "_id: must be a text of 1 to 512 ASCII"),
    ({"_id": "é", "chunk_text": "x"}, "_id: must be a text of 1 to 512 ASCII"),
    ({"_id": "a\0", "chunk_text": "x"}, "_id: must be a text of 1 to 512 ASCII"),
    ({"_id": "i" * 513, "chunk_text": "x"}, "_id: must be a text of 1 to 512 ASCII"),
    ({"_id": "a", "id": "b", "chunk_text": "x"}, "_id: differs from the id beside it"),
    ({"_id": "a"}, "chunk_text: must be given"),
    ({"_id": "a", "chunk_text": " \n"}, "chunk_text: must be given, as a text that is not empty"),
    ({"_id": "a", "chunk_text": ["x"]}, "chunk_text: must be given"),
    ({"_id": "a", "chunk_text": "x", "y": None}, "'y': can't be null"),
    ({"_id": "a", "chunk_text": "x", "y": {"z": 1}}, "'y': must be a text"),
    ({"_id": "a", "chunk_text": "x", "y": [1]}, "'y': must be a text"),
    ({"_id": "a", "chunk_text": "x", "y": [["z"]]}, "'y': must be a text"),
    ({"_id": "a", "chunk_text": "x", "y": float("nan")}, "'y': must be a finite number"),
    ({"_id": "a", "chunk_text": "x", "y": float("inf")}, "'y': must be a finite number"),
    ({"_id": "a", "chunk_text": "x", "y": 2**63}, "'y': must be a finite number"),
    ({"_id": "a", "chunk_text": "x", "y": 10**400}, "'y': must be a finite number"),
    ({"_id": "a", "chunk_text": "x", "$y": 1}, "'$y': a field name"),
    ({"_id": "a", "chunk_text": "x", "": 1}, "'': a field name"),
    ({"_id": "a", "chunk_text": "x", "_score": 1}, "'_score': a field name"),
    ({"_id": "a", "chunk_text": "x" * 41_000}, "at most 40960 bytes"),
    ({"_id": "a", "chunk_text": "é" * 21_000}, "at most 40960 bytes"),
]


@pytest.mark.parametrize("record", GOOD)
def test_valid_record_keeps_id_and_fields(record: dict[str, Any]) -> None:
    valid, failures = check([record], "chunk_text")
    assert failures == []
    (checked,) = valid.values()
    assert checked.id == record.get("_id", record.get("id"))
    fields = checked.fields
    assert "id" not in fields
    assert {**record, "_id": None, "id": None} == {**fields, "_id": None, "id": None}
    assert json.loads(checked.json) == fields


@pytest.mark.parametrize(("record", "hint"), BAD)
def test_invalid_record_is_rejected_with_reason(record: Any, hint: str) -> None:
    checked, (failure,) = check([record], "chunk_text")
    assert checked == {}
    assert hint in failure.detail
    assert len(failure.detail) < 200
    assert (failure.index, failure.code) == (0, "invalid_request")


def test_duplicate_ids_are_both_rejected_with_positions() -> None:
    ids = ["a", "b", "a", "c"]
    checked, failures = check([{"_id": id, "chunk_text": "x"} for id in ids], "chunk_text")
    assert [each.id for each in checked.values()] == ["b", "c"]
    assert [failure.index for failure in failures] == [0, 2]
    assert all("(0, 2, from 0)" in failure.detail for failure in failures)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 7), st.integers(1, 200))
def test_batches_keep_order_and_limits(sizes: list[int], max_records: int, max_bytes: int) -> None:
    records = [EncodedRecord(str(i), {}, b"x" * size) for i, size in enumerate(sizes)]
    batches = cut_batches(records, max_records, max_bytes)
    assert [each for batch in batches for each in batch] == records
    for batch in batches:
        assert 0 < len(batch) <= max_records
        assert len(batch) == 1 or sum(each.size for each in batch) <= max_bytes
    for batch, following in itertools.pairwise(batches):
        full = len(batch) == max_records
        assert full or sum(each.size for each in [*batch, following[0]]) > max_bytes


def test_record_with_too_many_fields_is_rejected() -> None:
    record = {"_id": "a", "chunk_text": "x", **{f"f{n}": 1 for n in range(999)}}
    checked, failures = check([record], "chunk_text")
    assert (len(checked), failures) == (1, [])
    checked, (failure,) = check([{**record, "more": 1}], "chunk_text")
    assert checked == {}
    assert "at most 1000 fields, and this one has 1001" in failure.detail
