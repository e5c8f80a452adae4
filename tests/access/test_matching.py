"""Filters on one record, compared with the embedded engine's on many."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from service.access.matching import matches
from service.embedded.filters.index import FilterIndex
from tests.embedded.filters.test_index import BODIES, FILTERS


def _match_nothing(_field: str, _condition: str, _text: str) -> BitMap:
    return BitMap()


@settings(max_examples=400, deadline=None)
@given(bodies=st.lists(BODIES, max_size=8), filter=FILTERS)
def test_matching_equals_filters_of_the_engine(
    bodies: list[dict[str, Any]], filter: dict[str, Any]
) -> None:
    columns = FilterIndex()
    for number, body in enumerate(bodies, 1):
        columns.add(number, "ns", body)
    found = set(columns.select("ns", filter, _match_nothing))
    assert {number for number, body in enumerate(bodies, 1) if matches(body, filter)} == found


@pytest.mark.parametrize("condition", ["$match_all", "$unknown", ""])
def test_unknown_condition_matches_nothing(condition: str) -> None:
    assert not matches({"a": "x"}, {"a": {condition: "x"}})


RECORD = {"text": "x", "number": 5, "yes": True, "tags": ["a", "b"], "empty": []}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"text": "x"}, True),
        ({"text": "y"}, False),
        ({"yes": 1}, False),
        ({"number": 5.0}, True),
        ({"text": {"$ne": "x"}}, False),
        ({"none": {"$ne": "x"}}, True),
        ({"text": {"$in": ["w", "x"]}}, True),
        ({"text": {"$in": ["w"]}}, False),
        ({"tags": {"$in": ["b"]}}, True),
        ({"text": {"$nin": ["x"]}}, False),
        ({"text": {"$nin": ["w"]}}, True),
        ({"text": {"$exists": True}}, True),
        ({"text": {"$exists": False}}, False),
        ({"empty": {"$exists": True}}, True),
        ({"none": {"$exists": True}}, False),
        ({"none": {"$exists": False}}, True),
        ({"number": {"$gt": 4}}, True),
        ({"number": {"$gt": 5}}, False),
        ({"number": {"$gte": 5, "$lt": 6}}, True),
        ({"number": {"$lt": 5}}, False),
        ({"number": {"$lte": 5}}, True),
        ({"text": {"$gt": 1}}, False),
        ({"$or": [{"text": "y"}, {"number": 5}]}, True),
        ({"$and": [{"text": "y"}, {"number": 5}]}, False),
    ],
)
def test_each_condition_matches_what_it_names(filter: dict[str, Any], expected: bool) -> None:
    assert matches(RECORD, filter) is expected
