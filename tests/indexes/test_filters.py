"""The validation of filters: valid filters, and the error messages of invalid ones."""

from __future__ import annotations

import re
from typing import Any

import pytest

from service.indexes.filters import check_filter

VALID: list[Any] = [
    {},
    {"genre": "drama"},
    {"genre": {"$eq": "drama"}, "year": {"$gte": 1990, "$lt": 2000.5}},
    {"year": {"$in": [1, "two", 3.0]}, "genre": {"$nin": []}},
    {"seen": True, "rated": {"$ne": False}, "note": {"$exists": True}},
    {"$and": [{"a": 1}, {"$or": [{"b": {"$gt": 2}}, {"c": "x"}]}]},
    {"chunk_text": {"$match_phrase": "the cat"}, "title": {"$match_any": "cat dog"}},
]

INVALID: list[tuple[Any, str]] = [
    ([], "JSON object"),
    ("genre", "JSON object"),
    (None, "JSON object"),
    ({"$eq": 1}, r"only \$and, \$or"),
    ({"$not": [{"a": 1}]}, r"only \$and, \$or"),
    ({"genre": {"$regex": "x"}}, "not an operator"),
    ({"genre": {"drama": 1}}, "not an operator"),
    ({"genre": {}}, "no condition"),
    ({"genre": None}, "takes a text, a number"),
    ({"genre": ["drama"]}, "takes a text, a number"),
    ({"genre": {"$eq": ["drama"]}}, "takes a text, a number"),
    ({"genre": {"$eq": {"x": 1}}}, "takes a text, a number"),
    ({"year": {"$gt": "1990"}}, "takes a number"),
    ({"year": {"$gt": True}}, "takes a number"),
    ({"year": {"$gt": float("nan")}}, "takes a number"),
    ({"year": {"$lt": float("inf")}}, "takes a number"),
    ({"year": 2**63}, "takes a text, a number"),
    ({"year": {"$gt": int("9" * 400)}}, "takes a number"),
    ({"year": {"$in": 1990}}, "takes a list"),
    ({"year": {"$in": [[1]]}}, "list of texts or numbers"),
    ({"year": {"$in": [True]}}, "list of texts or numbers"),
    ({"year": {"$in": list(range(10_001))}}, "at most 10000"),
    ({"note": {"$exists": 1}}, "true or false"),
    ({"$and": {"a": 1}}, "a list"),
    ({"$or": []}, "at least one"),
    ({"$or": [1]}, "every branch"),
    ({"text": {"$match_all": 5}}, "takes a text"),
]


@pytest.mark.parametrize("filter", VALID)
def test_check_filter_accepts_valid_filters(filter: Any) -> None:
    check_filter(filter)  # raises nothing


@pytest.mark.parametrize(("filter", "hint"), INVALID)
def test_check_filter_explains_why_a_filter_is_invalid(filter: Any, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        check_filter(filter)


def test_check_filter_rejects_deep_nesting() -> None:
    filter: Any = {"a": 1}
    for _ in range(40):
        filter = {"$and": [filter]}
    with pytest.raises(ValueError, match="levels deep"):
        check_filter(filter)


def test_check_filter_shortens_long_names_in_its_error() -> None:
    with pytest.raises(ValueError, match="…") as failed:
        check_filter({"x" * 5000: {"$nope": 1}})
    assert len(str(failed.value)) < 300


@pytest.mark.parametrize(
    ("filter", "allowed"),
    [
        ({"$or": [{"text": {"$match_any": "bread"}}] * 101}, "at most 100 $match conditions"),
        ({"$and": [{"$or": [{"year": 1}] * 501}] * 2}, "at most 1,000 conditions"),
        ({"$or": [{"year": {"$in": [1] * 9_000}}] * 6}, "at most 50,000 values"),
    ],
)
def test_filter_that_costs_too_much_is_rejected(filter: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=re.escape(allowed)):
        check_filter(filter)
    ((logic, branches),) = filter.items()
    check_filter({logic: branches[1:]})
