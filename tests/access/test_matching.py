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
