"""Lexical index with several text fields: clauses, scores and filter operators."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from service.embedded.lexical.files import CorruptIndex
from service.embedded.lexical.index import SLICE, LexicalIndex
from service.embedded.lexical.queries import TextClause

EVERYTHING = 1_000_000
COLOURS = ["red", "green", "blue", "black", "white", "grey"]
TALK = ["the", "of", "who", "red", "green", "blue"]


@pytest.fixture
def view(tmp_path: Path) -> Iterator[LexicalIndex]:
    view = LexicalIndex(tmp_path / "view", ["title", "body"])
    yield view
    view.close()


def fill(view: LexicalIndex, *texts: Mapping[str, str]) -> None:
    view.apply(enumerate(texts, 1), [])
    view.commit(1)


def numbers(found: Sequence[tuple[int, float]]) -> list[int]:
    return [docno for docno, _ in found]


# Which fields


def test_search_clause_is_limited_to_its_fields(view: LexicalIndex) -> None:
    fill(view, {"title": "red"}, {"body": "red"}, {"title": "green", "body": "red green"})
    assert numbers(view.search([TextClause("red", ("title",))], 9)) == [1]
    assert sorted(numbers(view.search([TextClause("red", ("body",))], 9))) == [2, 3]
    assert sorted(numbers(view.search([TextClause("red", ())], 9))) == [1, 2, 3]
    assert sorted(numbers(view.search([TextClause("red", ("title", "body"))], 9))) == [1, 2, 3]


def test_search_returns_documents_that_match_any_clause(
    view: LexicalIndex,
) -> None:
    fill(
        view, {"title": "red"}, {"body": "green"}, {"title": "red", "body": "green"}, {"body": "x"}
    )
    clauses = [TextClause("red", ("title",)), TextClause("green", ("body",))]
    best, *others = numbers(view.search(clauses, 9))
    assert (best, sorted(others)) == (3, [1, 2])
    assert view.search([], 9) == []
    twice = [TextClause("red", ("title", "title"))]
    assert view.search(twice, 9) == view.search([TextClause("red", ("title",))], 9)


def test_search_unknown_field_raises_value_error(view: LexicalIndex) -> None:
    with pytest.raises(ValueError, match=r"'docno'.*title, body"):
        view.search([TextClause("red", ("docno",))], 9)
    with pytest.raises(ValueError, match="text0"):
        view.match("text0", "$match_any", "red")
    with pytest.raises(ValueError, match="text0"):
        view.apply([(1, {"text0": "red"})], [])
    with pytest.raises(ValueError, match="operator"):
        view.match("title", "$eq", "red")


NAMES = ["docno", "text0", "applied", "_id", "", "a.b", "a:b", "日 本", '"\\', "\ud800", "x" * 512]


def test_index_accepts_any_field_name(tmp_path: Path) -> None:
    view = LexicalIndex(tmp_path, NAMES)
    fill(view, *({name: "red"} for name in NAMES))
    view.close()
    again = LexicalIndex(tmp_path, NAMES)
    for docno, name in enumerate(NAMES, 1):
        assert numbers(again.search([TextClause("red", (name,))], 99)) == [docno]
        assert again.match(name, "$match_all", "red") == BitMap([docno])
        assert again.highlighter("red", name)("a red") == [(2, 5)]
    again.close()


def test_index_without_fields_commits_and_finds_nothing(tmp_path: Path) -> None:
    view = LexicalIndex(tmp_path, [])
    view.apply([(1, {})], [])
    view.commit(3)
    assert view.committed_seq == 3
    assert view.search([TextClause("red", ())], 9) == []
    assert view.highlighter("red")("red") == [(0, 3)]
    view.close()


@pytest.mark.parametrize("fields", [[], ["title"], ["body", "title"], ["title", "body", "x"]])
def test_open_with_other_fields_raises_corrupt_index(tmp_path: Path, fields: list[str]) -> None:
    LexicalIndex(tmp_path, ["title", "body"]).close()
    with pytest.raises(CorruptIndex):
        LexicalIndex(tmp_path, fields)
    LexicalIndex(tmp_path, ["title", "body"], languages={"title": "english"}).close()


def test_index_analyzes_each_field_in_its_language(tmp_path: Path) -> None:
    languages = {"de": "german", "en": "english"}
    view = LexicalIndex(tmp_path, ["de", "en"], languages=languages)
    fill(view, {"de": "die Häuser"}, {"en": "hard to die"}, {"en": "Häuser"})
    assert numbers(view.search([TextClause("haus", ("de",))], 9)) == [1]
    assert view.search([TextClause("haus", ("en",))], 9) == []
    assert sorted(numbers(view.search([TextClause("die haus", ())], 9))) == [
        1,
        2,
    ]  # a stop word in one
    assert numbers(view.search([TextClause("haus", ())], 9, match_all=["haus die"])) == [1]
    assert view.highlighter("haus", "de")("Häuser") == [(0, 6)]
    assert view.highlighter("haus", "en")("Häuser") == []
    view.close()
    with pytest.raises(CorruptIndex):
        LexicalIndex(tmp_path, ["de", "en"], languages={"de": "german", "en": "german"})


def test_apply_document_without_text_removes_older_one(
    view: LexicalIndex,
) -> None:
    fill(view, {"title": "red"}, {"title": "red"})
    view.apply([(1, {"title": "", "body": ""}), (3, {})], [])
    view.commit(2)
    assert numbers(view.search([TextClause("red", ())], 9)) == [2]
    assert numbers(view.search([TextClause("*", (), syntax=True)], 9)) == [2]


# The score


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LexicalIndex]:
    """Short texts with many ties in three fields, in several segments, some of them deleted."""
    dice = random.Random(3)
    view = LexicalIndex(tmp_path_factory.mktemp("crowd"), ["title", "body", "note"])
    for seq in range(3):
        docnos = range(seq * 500 + 1, seq * 500 + 501)
        texts = [
            {
                name: " ".join(dice.choices(COLOURS, range(1, 7), k=dice.randrange(7)))
                for name in ("title", "body", "note")
            }
            for _ in docnos
        ]
        view.apply(zip(docnos, texts, strict=True), dice.sample(docnos, 50))
        view.commit(seq + 1)
    yield view
    view.close()


clauses = st.lists(
    st.builds(
        TextClause,
        st.lists(st.sampled_from([*COLOURS, "gren"]), max_size=4).map(" ".join),
        st.sets(st.sampled_from(["title", "body", "note"])).map(lambda some: tuple(sorted(some))),
        typos=st.booleans(),
    ),
    max_size=3,
)


@settings(max_examples=100, deadline=None)
@given(clauses=clauses)
def test_score_is_sum_over_clauses_and_fields(
    crowd: LexicalIndex, clauses: list[TextClause]
) -> None:
    sums = dict[int, float]()
    for clause in clauses:
        for field in clause.fields or ("title", "body", "note"):
            one = TextClause(clause.query, (field,), typos=clause.typos)
            for docno, score in crowd.search([one], EVERYTHING):
                sums[docno] = sums.get(docno, 0) + score
    assert dict(crowd.search(clauses, EVERYTHING)) == pytest.approx(sums, rel=1e-5)


@settings(max_examples=150, deadline=None)
@given(
    clauses=clauses,
    k=st.integers(0, 200),
    docnos=st.one_of(
        st.sets(st.integers(1, 1_510), max_size=60),
        st.builds(range, st.integers(1, 1_500), st.just(1_500), st.integers(1, 50)),
    ),
    required=st.lists(st.sampled_from(COLOURS), max_size=2),
)
def test_search_with_candidates_equals_filtered_full_ranking(
    crowd: LexicalIndex,
    clauses: list[TextClause],
    k: int,
    docnos: Sequence[int],
    required: list[str],
) -> None:
    among = BitMap(docnos)
    ranking = crowd.search(clauses, EVERYTHING, match_all=required)
    assert ranking == sorted(ranking, key=lambda found: (-found[1], found[0]))
    expected = [found for found in ranking if found[0] in among][:k]
    assert crowd.search(clauses, k, among, match_all=required) == expected
    assert crowd.search(clauses, k, match_all=required) == ranking[:k]


def bm25(texts: Sequence[Mapping[str, str]], fields: Sequence[str], query: str) -> dict[int, float]:
    """Textbook BM25 for short texts; the document that stores the log position counts, too."""
    total, scores = len(texts) + 1, dict[int, float]()
    for field in fields:
        split = {docno: text.get(field, "").split() for docno, text in enumerate(texts, 1)}
        average = sum(map(len, split.values())) / total
        for word in query.split():
            having = [docno for docno, words in split.items() if word in words]
            rarity = math.log1p((total - len(having) + 0.5) / (len(having) + 0.5))
            for docno in having:
                count, length = split[docno].count(word), len(split[docno])
                much = count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / average))
                scores[docno] = scores.get(docno, 0) + rarity * much
    return scores


sentences = st.lists(st.sampled_from(COLOURS), min_size=1, max_size=12).map(" ".join)


@settings(max_examples=15, deadline=None)
@given(
    texts=st.lists(
        st.dictionaries(st.sampled_from(["title", "body"]), sentences, min_size=1), min_size=1
    ),
    query=sentences,
    fields=st.sampled_from([("title",), ("body",), ("title", "body")]),
)
def test_score_is_bm25_per_field(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[dict[str, str]],
    query: str,
    fields: tuple[str, ...],
) -> None:
    view = LexicalIndex(tmp_path_factory.mktemp("view"), ["title", "body"])
    fill(view, *texts)
    found = dict(view.search([TextClause(query, fields)], EVERYTHING))
    view.close()
    assert found == pytest.approx(bm25(texts, fields, query), rel=1e-4)


def test_match_all_words_may_be_in_different_fields(view: LexicalIndex) -> None:
    fill(view, {"title": "red", "body": "green"}, {"title": "red green"}, {"title": "red"})
    assert numbers(view.search([TextClause("red", ())], 9, match_all=["the red green"])) == [1, 2]
    assert numbers(view.search([TextClause("red", ("title",))], 9, match_all=["red green"])) == [2]
    assert view.search([TextClause("red", ())], 9, match_all=["red", "blue"]) == []
    assert view.search([TextClause("red", ())], 9, match_all=["the who"]) == []


def test_typos_are_limited_to_fields_of_clause(view: LexicalIndex) -> None:
    fill(view, {"title": "green"}, {"body": "green"})
    assert numbers(view.search([TextClause("gren", ("body",), typos=True)], 9)) == [2]
    exact = TextClause("gren", ("title",))
    assert numbers(view.search([exact, TextClause("gren", ("body",), typos=True)], 9)) == [2]
    assert numbers(view.search([TextClause("gren", (), typos=True)], 9)) == [1, 2]


# Filters


def test_match_phrase_requires_adjacent_words_in_order(view: LexicalIndex) -> None:
    fill(
        view,
        {"title": "The state of the art."},
        {"title": "the art of the state"},
        {"title": "state of art"},
        {"title": "state of", "body": "the art"},
        {"body": "states-of-the-arts"},
        {"title": f"state {'x' * 200} of the art"},
    )
    assert view.match("title", "$match_phrase", "state of the art") == BitMap([1])
    assert view.match("body", "$match_phrase", "State of the Art!") == BitMap([5])
    assert view.match("title", "$match_phrase", "of the") == BitMap([1, 2, 6])
    assert view.match("title", "$match_phrase", "the state") == BitMap([1, 2])
    assert view.match("title", "$match_phrase", "art") == BitMap([1, 2, 3, 6])
    assert view.match("title", "$match_phrase", "!?") == BitMap()


def test_match_ignores_stop_words_unless_there_are_no_others(view: LexicalIndex) -> None:
    fill(view, {"title": "red"}, {"title": "the green"}, {"title": "who is the"})
    assert view.match("title", "$match_all", "the red") == BitMap([1])
    assert view.match("title", "$match_any", "the red") == BitMap([1])
    assert view.match("title", "$match_all", "who the") == BitMap([3])
    assert view.match("title", "$match_any", "who the") == BitMap([2, 3])


talk = st.lists(st.sampled_from(TALK), max_size=6)


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(talk, min_size=1, max_size=30), questions=st.lists(talk, min_size=1))
def test_match_equals_linear_scan(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]], questions: list[list[str]]
) -> None:
    view = LexicalIndex(tmp_path_factory.mktemp("view"), ["text"])
    fill(view, *({"text": " ".join(words)} for words in texts))
    for question in questions:
        content = {w for w in question if w not in TALK[:3]} or set(question)
        for number, words in enumerate(texts, 1):
            holds = {
                "$match_phrase": f" {' '.join(question)} " in f" {' '.join(words)} ",
                "$match_all": content <= set(words),
                "$match_any": bool(content & set(words)),
            }
            for operator, expected in holds.items():
                found = view.match("text", operator, " ".join(question))
                assert (number in found) == (bool(question) and expected)
    view.close()


@pytest.mark.parametrize("others", [[], [2**31, 2**32 - 1]])
def test_match_returns_all_of_very_many_documents(view: LexicalIndex, others: list[int]) -> None:
    """More documents than one batch collects, with dense and sparse docnos."""
    docnos = [*range(1, SLICE + 500), *others]
    view.apply([(docno, {"title": "red"}) for docno in docnos], [5])
    view.commit(1)
    assert view.match("title", "$match_any", "red") == BitMap(docnos) - BitMap([5])


@settings(max_examples=60, deadline=None)
@given(text=st.text())
def test_match_accepts_any_text(crowd: LexicalIndex, text: str) -> None:
    found = [crowd.match("body", f"$match_{kind}", text) for kind in ("phrase", "all", "any")]
    assert found[0] <= found[2]
    assert found[1] <= found[2]
