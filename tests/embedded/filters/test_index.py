"""Filters, compared with a reference matcher and by example."""

from __future__ import annotations

import operator
import random
from array import array
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from service.embedded.filters.columns import MAX_STRING_CHARS, Column
from service.embedded.filters.index import FilterIndex
from service.indexes.filters import check_filter

Documents = dict[int, tuple[str, dict[str, Any]]]

LONG = "a long text, of which only a digest is kept " * 20
HUGE = float(2**62)

# A plain matcher: one document, one filter, nothing clever.


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e308


def field_values(value: Any) -> list[Any]:
    """Returns the values of a field; empty if its type counts as absent."""
    if isinstance(value, list):
        return value if all(isinstance(item, str) for item in value) else []
    return [value] if isinstance(value, str | bool) or is_number(value) else []


def equal_values(left: Any, right: Any) -> bool:
    if is_number(left) and is_number(right):
        return float(left) == float(right)
    return type(left) is type(right) and bool(left == right)


NEGATED = {"$ne": "$eq", "$nin": "$in"}
ORDER = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}


def meets(value: Any, condition: str, operand: Any) -> bool:
    if condition in NEGATED:
        return not meets(value, NEGATED[condition], operand)
    if condition in ORDER:
        return is_number(value) and bool(ORDER[condition](float(value), float(operand)))
    if condition == "$exists":
        return (value == [] or field_values(value) != []) == bool(operand)
    if condition.startswith("$match"):
        return any(isinstance(item, str) and operand in item for item in field_values(value))
    wanted = operand if condition == "$in" else [operand]
    return any(equal_values(item, one) for item in field_values(value) for one in wanted)


def matches(fields: Mapping[str, Any], filter: Mapping[str, Any]) -> bool:
    for name, part in filter.items():
        if name == "$and":
            found = all(matches(fields, branch) for branch in part)
        elif name == "$or":
            found = any(matches(fields, branch) for branch in part)
        else:
            conditions = part if isinstance(part, dict) else {"$eq": part}
            value = fields.get(name)
            found = all(meets(value, *condition) for condition in conditions.items())
        if not found:
            return False
    return True


# Few fields and few values, so that filters match.

FIELDS = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["", "x", "y", "1", "true", LONG, LONG + "!"])
NUMBERS = st.sampled_from([-1.5, -0.0, 0, 0.0, 1, 1.0, 2, 2.5, 3, 2**53, 2**53 + 1, HUGE, -HUGE])
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans())
ABSENT: st.SearchStrategy[Any] = st.sampled_from(
    [None, {"x": 1}, ["x", 1], [None], float("inf"), float("nan"), 10**400]
)
VALUES = st.one_of(SCALARS, SCALARS, st.lists(TEXTS, max_size=3), ABSENT)
BODIES = st.dictionaries(FIELDS, VALUES, max_size=3)

CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "$eq": SCALARS,
        "$ne": SCALARS,
        "$in": st.lists(st.one_of(TEXTS, NUMBERS), max_size=4),
        "$nin": st.lists(st.one_of(TEXTS, NUMBERS), max_size=4),
        "$exists": st.booleans(),
        **dict.fromkeys(["$gt", "$gte", "$lt", "$lte"], NUMBERS),
        **dict.fromkeys(["$match_phrase", "$match_all", "$match_any"], TEXTS.filter(bool)),
    },
).filter(bool)
FLAT = st.dictionaries(FIELDS, SCALARS | CONDITIONS, max_size=2)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    branches = st.lists(inner, min_size=1, max_size=3)
    logic = st.fixed_dictionaries({}, optional={"$and": branches, "$or": branches})
    return st.builds(lambda one, other: {**one, **other}, FLAT, logic)


FILTERS = st.recursive(FLAT, nested, max_leaves=6)


class Kept:
    """The documents in the filter index, and in a dict for the reference matcher."""

    def __init__(self) -> None:
        self.columns = FilterIndex()
        self.documents: Documents = {}
        self._last = 0

    def add(self, namespace: str, fields: dict[str, Any], step: int = 1) -> None:
        self._last += step
        self.documents[self._last] = (namespace, fields)
        self.columns.add(self._last, namespace, fields)

    def remove(self, docno: int) -> None:
        self.columns.remove(docno, *self.documents.pop(docno))

    def match(self, field: str, condition: str, text: str) -> BitMap:
        bodies = self.documents.items()
        return BitMap(no for no, (_, body) in bodies if meets(body.get(field), condition, text))

    def agrees(self, namespace: str, filter: dict[str, Any]) -> None:
        check_filter(filter)
        expected = [
            docno
            for docno, (where, fields) in self.documents.items()
            if where == namespace and matches(fields, filter)
        ]
        assert list(self.columns.select(namespace, filter, self.match)) == sorted(expected)


@settings(max_examples=300, deadline=None)
@given(bodies=st.lists(BODIES, max_size=12), filters=st.lists(FILTERS, min_size=1, max_size=4))
def test_select_equals_reference_matcher(
    bodies: list[dict[str, Any]], filters: list[dict[str, Any]]
) -> None:
    kept = Kept()
    for body in bodies:
        kept.add("ns", body)
    for filter in filters:
        kept.agrees("ns", filter)


NAMESPACES = st.sampled_from(["", "one", "two"])
STEPS = st.one_of(st.tuples(NAMESPACES, BODIES), st.integers(0, 99))  # add this, or remove that one


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, max_size=30), filter=FILTERS)
def test_select_after_removals_equals_reference_matcher(
    steps: list[tuple[str, dict[str, Any]] | int], filter: dict[str, Any]
) -> None:
    kept = Kept()
    for step in steps:
        if not isinstance(step, int):
            kept.add(*step, step=70_000)
        elif kept.documents:
            kept.remove(sorted(kept.documents)[step % len(kept.documents)])
    spaces = [namespace for namespace, _ in kept.documents.values()]
    assert kept.columns.namespace_counts() == {name: spaces.count(name) for name in set(spaces)}
    for namespace in ["", "one", "two", "never heard of"]:
        kept.agrees(namespace, filter)


def some_fields(rng: random.Random) -> dict[str, Any]:
    fields = {
        "rating": rng.choice([1, 1, 1, 2, 3.5]),
        "price": rng.randrange(500) / 4,
        "genre": rng.choice("xxxy"),
        "author": f"author {rng.randrange(60)}",
        "url": f"https://example.org/a/rather/long/path/{rng.randrange(2000)}",
        "tags": rng.choices("abcdefgh", k=rng.randrange(4)),
        "mixed": rng.choice([True, False, 1, 0, "1", None]),
    }
    return {name: value for name, value in fields.items() if rng.random() < 0.95}


MANY: list[dict[str, Any]] = [
    {"rating": 1},
    {"rating": {"$in": [2, 3.5, 99]}},
    {"rating": {"$gt": 1, "$lte": 3.5}},
    {"rating": {"$gte": 1, "$lt": 2}},
    {"price": 31.25},
    {"price": {"$in": [0, 1, 2.5, 1000]}},
    {"price": {"$gte": 20, "$lt": 90.25}},
    {"price": {"$gt": 90, "$lt": 20}},
    {"price": {"$nin": [1, 2]}, "genre": {"$ne": "x"}},
    {"author": "author 7"},
    {"author": {"$in": ["author 1", "author 2", "nobody"]}},
    {"url": "https://example.org/a/rather/long/path/5"},
    {"$or": [{"tags": "a"}, {"tags": {"$in": ["b", "c"]}}], "genre": "y"},
    {"mixed": True},
    {"mixed": {"$in": [1, "1"]}},
    {"mixed": {"$exists": False}},
]


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_select_of_thousands_equals_reference_matcher(seed: int) -> None:
    rng, kept = random.Random(seed), Kept()
    for _ in range(4000):
        kept.add("ns", some_fields(rng))
        if rng.random() < 0.2:
            kept.remove(rng.choice(list(kept.documents)))
    for left in (3000, 300, 1):
        for filter in MANY:
            kept.agrees("ns", filter)
        for docno in rng.sample(sorted(kept.documents), len(kept.documents) - left):
            kept.remove(docno)


# The semantics, by example.

FILMS: dict[int, dict[str, Any]] = {
    1: {"title": "Alien", "year": 1979, "genre": ["horror", "scifi"], "seen": True},
    2: {"title": "Brazil", "year": 1985.0, "genre": ["scifi"], "seen": False},
    3: {"title": "Charade", "year": 1963, "genre": "comedy"},
    4: {"title": "Diva", "year": "1981", "genre": []},
    5: {"title": "Eraserhead", "year": 1, "seen": 1, "genre": None},
}

EXAMPLES: list[tuple[str, dict[str, Any], set[int]]] = [
    ("no condition selects all", {}, {1, 2, 3, 4, 5}),
    ("a bare value is $eq", {"title": "Alien"}, {1}),
    ("1985 is 1985.0", {"year": 1985}, {2}),
    ("a text is no number", {"year": 1981}, set()),
    ("true is not 1", {"seen": True}, {1}),
    ("1 is not true", {"seen": 1}, {5}),
    ("any element of a list will do", {"genre": "scifi"}, {1, 2}),
    ("any of $in", {"genre": {"$in": ["horror", "comedy"]}}, {1, 3}),
    ("$ne is the rest, those without the field too", {"genre": {"$ne": "scifi"}}, {3, 4, 5}),
    ("$nin is the rest of $in", {"genre": {"$nin": ["scifi", "comedy"]}}, {4, 5}),
    ("empty $in matches nothing", {"title": {"$in": []}}, set()),
    ("$gt is for numbers only", {"year": {"$gt": 0}}, {1, 2, 3, 5}),
    ("and not for booleans", {"seen": {"$gte": 0}}, {5}),
    ("the bounds of a range are ANDed", {"year": {"$gt": 1963, "$lte": 1985}}, {1, 2}),
    ("the narrower bound counts", {"year": {"$gt": 1963, "$gte": 1}}, {1, 2}),
    ("on either side", {"year": {"$lt": 1979, "$lte": 1985}}, {3, 5}),
    ("so are all conditions", {"year": {"$gte": 1963, "$ne": 1979}}, {2, 3}),
    ("and all fields", {"genre": "scifi", "seen": False}, {2}),
    ("an empty list is there, a null is not", {"genre": {"$exists": True}}, {1, 2, 3, 4}),
    ("unknown field does not exist", {"nope": {"$exists": False}}, {1, 2, 3, 4, 5}),
    (
        "$or and $and nest",
        {"$or": [{"year": 1}, {"$and": [{"seen": True}, {"year": 1979}]}]},
        {1, 5},
    ),
    ("$and stands beside a field", {"title": "Alien", "$and": [{"year": 1963}]}, set()),
]


def films() -> FilterIndex:
    columns = FilterIndex()
    for docno, fields in FILMS.items():
        columns.add(docno, "films", fields)
    columns.add(9, "elsewhere", FILMS[1])
    return columns


@pytest.mark.parametrize(
    ("filter", "expected"),
    [pytest.param(*example, id=sentence) for sentence, *example in EXAMPLES],
)
def test_select_examples(filter: dict[str, Any], expected: set[int]) -> None:
    check_filter(filter)
    assert set(films().select("films", filter)) == expected


def test_select_without_filter_returns_namespace() -> None:
    columns = films()
    assert columns.select("films", None) == columns.namespace("films") == BitMap(FILMS)
    assert columns.namespace_counts() == {"films": 5, "elsewhere": 1}
    assert columns.select("nowhere", None) == columns.namespace("nowhere") == BitMap()


def test_select_returns_bitmap_of_its_own() -> None:
    columns = FilterIndex()
    for docno in range(1, 2001):
        columns.add(docno, "ns", {"genre": "drama", "year": 1990})
    everything = BitMap(range(1, 2001))
    matched = everything.copy()
    filters: list[dict[str, Any]] = [
        {},
        {"genre": "drama"},
        {"year": 1990},
        {"year": {"$gt": 1}},
        {"genre": {"$exists": True}},
        {"genre": {"$ne": "comedy"}},
        {"text": {"$match_all": "x"}},
        {"$and": [{}]},
        {"$or": [{"genre": "drama"}]},
    ]
    found = [columns.select("ns", filter, lambda *_: matched) for filter in filters]
    found.append(columns.namespace("ns"))
    columns.add(2001, "ns", {"genre": "drama", "year": 1990})
    columns.remove(1, "ns", {"genre": "drama", "year": 1990})
    assert found == [everything] * len(found)
    for one in found:
        one.clear()
    assert matched == everything
    assert len(columns.select("ns", {"genre": "drama", "year": 1990})) == 2000


def test_long_strings_are_compared_completely() -> None:
    columns = FilterIndex()
    columns.add(1, "ns", {"text": LONG})
    columns.add(2, "ns", {"text": LONG + "!", "list": [LONG, "short"]})
    columns.add(3, "ns", {"text": "\ud800" * 600})
    assert columns.select("ns", {"text": LONG}) == BitMap([1])
    assert columns.select("ns", {"text": {"$ne": LONG}}) == BitMap([2, 3])
    assert columns.select("ns", {"text": {"$in": [LONG, LONG + "!", "x"]}}) == BitMap([1, 2])
    assert columns.select("ns", {"list": LONG}) == BitMap([2])
    assert columns.select("ns", {"text": "\ud800" * 600}) == BitMap([3])


def test_not_compared_field_supports_exists_only() -> None:
    columns = FilterIndex(not_compared=["chunk_text"])
    columns.add(1, "ns", {"chunk_text": LONG, "year": 1990})
    columns.add(2, "ns", {"chunk_text": None, "year": 1990})
    assert columns.select("ns", {"chunk_text": {"$exists": True}}) == BitMap([1])
    for condition in [LONG, {"$ne": "x"}, {"$in": []}, {"$gt": 1}]:
        for namespace in ["ns", "nowhere"]:
            with pytest.raises(ValueError, match="'chunk_text' is a text field and can't be"):
                columns.select(namespace, {"year": 1, "chunk_text": condition})
    columns.remove(1, "ns", {"chunk_text": LONG, "year": 1990})
    assert columns.select("ns", {"chunk_text": {"$exists": False}}) == BitMap([2])


def test_match_callback_receives_field_operator_and_text() -> None:
    asked = []

    def match(field: str, condition: str, text: str) -> BitMap:
        asked.append((field, condition, text))
        return BitMap([2, 3, 9])

    filter = {"title": {"$match_phrase": "the cat"}, "year": {"$gte": 1980}}
    assert films().select("films", filter, match) == BitMap([2])
    assert asked == [("title", "$match_phrase", "the cat")]


def test_match_without_callback_raises_value_error() -> None:
    with pytest.raises(
        ValueError, match=r"\$match_any on 'title': no text can be searched"
    ) as failed:
        films().select("films", {"title": {"$match_any": "cat"}})
    with pytest.raises(ValueError, match="…") as failed:
        films().select("films", {"x" * 5000: {"$match_any": "cat"}})
    assert len(str(failed.value)) < 300


def test_add_existing_or_remove_missing_document_raises() -> None:
    columns = films()
    with pytest.raises(KeyError):
        columns.add(1, "films", {"title": "Aliens"})
    with pytest.raises(KeyError):
        columns.remove(9, "films", FILMS[1])
    assert columns.select("films", {"title": "Alien"}) == BitMap([1])
    assert not columns.select("films", {"title": "Aliens"})


def test_posting_list_is_int_array_or_bitmap() -> None:
    column = Column(compared=True)
    kinds = []
    for docno in range(1, 101):
        column.add(docno, "x")
        kinds.append(type(column._exact._postings["x"]))
        assert column.equal(["x"]) == BitMap(range(1, docno + 1))
    assert list(dict.fromkeys(kinds)) == [int, array, BitMap]


def test_long_string_is_kept_as_digest() -> None:
    column = Column(compared=True)
    column.add(1, LONG)
    column.add(2, [LONG + "!", "x" * MAX_STRING_CHARS])
    assert len(column._exact._postings) == 3
    for key in column._exact._postings:
        assert isinstance(key, str | bytes)
        assert len(key) <= MAX_STRING_CHARS


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_numbers_drop_removed_documents_at_once(seed: int) -> None:
    rng, column = random.Random(seed), Column(compared=True)
    values_by_docno: dict[int, int] = {}
    for docno in range(1, 2501):
        values_by_docno[docno] = rng.choice([5, 5, rng.randrange(100)])
        column.add(docno, values_by_docno[docno])
        if rng.random() < 0.3:
            removed_docno = rng.choice([docno, rng.choice(list(values_by_docno))])
            column.remove(removed_docno, values_by_docno.pop(removed_docno))
    for wanted in (4, 5, 6):
        assert column.equal([wanted]) == BitMap(
            d for d, value in values_by_docno.items() if value == wanted
        )
    assert column.between(3, 50) == BitMap(
        d for d, value in values_by_docno.items() if 3 <= value <= 50
    )


def test_remove_frees_all_entries() -> None:
    rng = random.Random(7)
    bodies = {docno: some_fields(rng) for docno in range(1, 4001)}
    columns = FilterIndex()
    columns.add(9001, "ns", {"rating": "none", "mixed": 5})
    for docno, body in bodies.items():
        columns.add(docno, "ns", body)
    for docno in rng.sample(sorted(bodies), len(bodies)):
        columns.remove(docno, "ns", bodies[docno])
    space = columns._namespaces["ns"]
    assert set(space._columns) == {"rating", "mixed"}
    for column in space._columns.values():
        assert column.present == BitMap([9001])
    rating, mixed = space._columns["rating"], space._columns["mixed"]
    assert rating._exact._postings == {"none": 9001}
    assert mixed._exact._postings == {}
    for numbers, expected in [(rating._numbers, 0), (mixed._numbers, 1)]:
        assert numbers is not None
        assert numbers._common == {}
        assert len(numbers._values) == len(numbers._docnos)
        assert (
            len(numbers._docnos) + len(numbers._unsorted_docnos) - numbers._tombstones == expected
        )
        assert len(numbers._docnos) + len(numbers._unsorted_docnos) <= 2
    columns.remove(9001, "ns", {"rating": "none", "mixed": 5})
    assert columns._namespaces == {}
