"""Query strings: their matches, and the errors for invalid ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.embedded.lexical.index import LexicalIndex
from service.embedded.lexical.queries import TextClause
from service.embedded.lexical.syntax import InvalidQueryString

ROME = [
    {"title": "Rome", "body": "The old town of the empire"},
    {"title": "Rome for tourists", "body": "An old and pretty town"},
    {"title": "Paris", "body": "An imperial city, not an empire"},
    {"title": "Roma", "body": "Don't miss the old towns' walls"},
    {"title": "The Who", "body": "rock"},
    {"a b": "Rome", "it.is": "said"},
]


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LexicalIndex]:
    view = LexicalIndex(
        tmp_path_factory.mktemp("view"), ["title", "body", "a b", "it.is", "docnos"]
    )
    view.apply(enumerate(ROME, 1), [])
    view.commit(1)
    yield view
    view.close()


def found(view: LexicalIndex, query: str, *fields: str) -> list[int]:
    return sorted(docno for docno, _ in view.search([TextClause(query, fields, syntax=True)], 99))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("rome", [1, 2, 6]),
        ("ROME paris", [1, 2, 3, 6]),
        ("title:rome", [1, 2]),
        ("title:(rome OR paris)", [1, 2, 3]),
        ("rome AND empire", [1]),
        ("rome OR paris AND city", [1, 2, 3, 6]),
        ("+rome -tourist", [1, 6]),
        ("rome NOT tourist", [1, 6]),
        ("town AND NOT tourist", [1, 4]),
        ("town OR (NOT rome)", [1, 2, 3, 4, 5]),
        ('"old town"', [1, 4]),
        ("'old town'", [1, 4]),
        ('"town old"', []),
        ('"old town"~2', [1, 2, 4]),
        ('title:rome AND (body:"old town" OR body:imperial^2) -tourist', [1]),
        ("emp*", [1, 3]),
        ("empire*", [1, 3]),
        ("body:TOUR*", []),
        ('"old tow"*', [1, 4]),
        ('"old towns"*', [1, 4]),
        ('"ol"*', [1, 2, 4]),
        ("rome~1", [1, 2, 4, 6]),
        ("rome~0", [1, 2, 6]),
        ("prais~", [3]),
        ("*", [1, 2, 3, 4, 5, 6]),
        ("* -rome", [3, 4, 5]),
        (r"a\ b:rome", [6]),
        ("it.is:said", [6]),
        # Stop words: not looked for, unless there are no others, but always part of a phrase.
        ("the rome", [1, 2, 6]),
        ("+the +paris", [3]),
        ("paris -the", [3]),
        ("the who", [1, 4, 5]),
        ("the -rome", [4, 5]),
        ('"of the empire"', [1]),
        ('"the who" paris', [3, 5]),
        # A word that is more than one to the index: a phrase.
        ("old-town", [1, 4]),
        ("don't", [4]),
        ('"don\'t miss"', [4]),
        ("", []),
        ("!!! ???", []),
        ("\ud83c rome", [1, 2, 6]),
        ("rome^0", [1, 2, 6]),
    ],
)
def test_query_string_matches_expected_documents(
    view: LexicalIndex, query: str, expected: list[int]
) -> None:
    assert found(view, query) == expected


def test_query_string_defaults_to_fields_of_clause(view: LexicalIndex) -> None:
    assert found(view, "rome empire", "title") == [1, 2]
    assert found(view, "rome body:empire", "title") == [1, 2, 3]


def test_boost_multiplies_score(view: LexicalIndex) -> None:
    (_, plain), *_ = view.search([TextClause("title:paris", (), syntax=True)], 1)
    (_, boosted), *_ = view.search([TextClause("title:paris^2.5", (), syntax=True)], 1)
    assert boosted == pytest.approx(2.5 * plain)


def test_query_string_scores_words_like_plain_text(view: LexicalIndex) -> None:
    plain = view.search([TextClause("rome town", ("title", "body"))], 9)
    assert view.search([TextClause("rome town", ("title", "body"), syntax=True)], 9) == plain


def test_exact_match_ranks_above_fuzzy_and_prefix_match(view: LexicalIndex) -> None:
    scores = dict(view.search([TextClause("title:roma~1", (), syntax=True)], 9))
    assert max(scores, key=lambda docno: scores[docno]) == 4
    scores = dict(view.search([TextClause("body:imperial*", (), syntax=True)], 9))
    assert [*scores] == [3]


def test_query_strings_and_plain_clauses_can_be_combined(view: LexicalIndex) -> None:
    clauses = [
        TextClause("paris OR", ("title",)),
        TextClause("+title:rome -tourist", (), syntax=True),
    ]
    assert sorted(docno for docno, _ in view.search(clauses, 9)) == [1, 3]
    assert sorted(docno for docno, _ in view.search(clauses, 9, match_all=["old"])) == [1]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("rome AND", "unmatched"),
        ("rome AND (", "expected word after 10 characters"),
        ("(rome", "expected '\\)' after 5 characters"),
        ('"日本', "missing delimiter .* after 3 characters"),
        ("OR", "unmatched"),
        ("rome^x", "is invalid"),
        ("nowhere:rome", "no text field 'nowhere'; the text fields are: title, body, a b"),
        ("docno:1", "no text field 'docno'"),
        ("applied:1", "no text field 'applied'"),
        ("text0:rome", "no text field 'text0'"),
        ("http://rome.it", "no text field 'http'"),
        ("NOT rome", "only excludes"),
        ("-rome -paris", "only excludes"),
        ("(NOT rome)^2", "only excludes"),
        ("title:[a TO z]", "ranges"),
        ("docno:>=1", "ranges"),
        ("title: IN [a b]", "sets"),
        ("/r.*/", "regular expressions"),
        ("title:*", "whether a field exists"),
        ("docno:*", "whether a field exists"),
        ("r*e", "at the end of a word"),
        ("*me", "at the end of a word"),
        ("rome && paris", "AND and OR"),
        ("rome~3", "from 0 to 2"),
        ("old-town~1", "follow one word"),
        ("rome^1001", "from 0 to 1000"),
        ('"old town"~101', "at most 100"),
        ("-".join(["old"] * 101), "phrase of more than 100"),
        ("x" * 10_001, "longer than 10000"),
        ("(" * 31 + "rome" + ")" * 31, "more than 30 nested brackets"),
        ("(" * 9_000, "more than 30 nested brackets"),
        ("NOT " * 2_000 + "rome", "NOT NOT"),
        (" ".join(f"w{n}*" for n in range(17)), "more than 16 words with"),
        (" ".join(f"w{n}" for n in range(206)), "more than 1024 words"),
    ],
)
def test_invalid_query_string_is_rejected_with_reason(
    view: LexicalIndex, query: str, sentence: str
) -> None:
    with pytest.raises(InvalidQueryString, match=sentence) as told:
        found(view, query)
    assert len(str(told.value)) < 200


pieces = st.sampled_from(
    [
        *("rome", "the", "title:", "a b:", "docno:", "日本", "é", "\ud800", "\0", " ", " ", " "),
        *('"', "'", "(", ")", "[", "]", "{", "AND", "OR", "NOT", "TO", "IN", "+", "-", "^2", "~1"),
        *("*", "/", ">", "=", "\\", ":", "~", "^", "&&", "999999999999", "."),
    ]
)


@settings(max_examples=400, deadline=None)
@given(query=st.one_of(st.text(), st.lists(pieces, max_size=12).map("".join)))
def test_any_text_is_parsed_or_rejected(view: LexicalIndex, query: str) -> None:
    try:
        got = view.search([TextClause(query, (), syntax=True)], 99)
    except InvalidQueryString:
        return
    assert {docno for docno, _ in got} <= {1, 2, 3, 4, 5, 6}
    assert got == sorted(got, key=lambda each: (-each[1], each[0]))


trees = st.recursive(
    st.sampled_from(["rome", "town", "empire", "old", "title:rome", "body:city", '"old town"']),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]} AND {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} OR {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} AND NOT {two[1]})"),
    ),
    max_leaves=8,
)


def expected_by_scan(view: LexicalIndex, query: str) -> set[int]:
    """Combines the matches of the single words by set algebra."""
    if not query.startswith("("):
        return set(found(view, query))
    depth = 0
    for at, char in enumerate(query):
        depth += (char == "(") - (char == ")")
        for operator in (" AND NOT ", " AND ", " OR "):
            if depth == 1 and query.startswith(operator, at):
                left = expected_by_scan(view, query[1:at])
                right = expected_by_scan(view, query[at + len(operator) : -1])
                return {" AND ": left & right, " OR ": left | right}.get(operator, left - right)
    raise AssertionError(query)


@settings(max_examples=150, deadline=None)
@given(query=trees)
def test_and_or_not_equal_set_operations(view: LexicalIndex, query: str) -> None:
    assert set(found(view, query)) == expected_by_scan(view, query)
