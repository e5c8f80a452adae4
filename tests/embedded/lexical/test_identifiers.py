"""Identifiers such as `NO_PROXY` in the lexical index, found as a whole and by their parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.embedded.lexical.index import LexicalIndex
from service.embedded.lexical.queries import TextClause


@pytest.fixture
def view(tmp_path: Path) -> Iterator[LexicalIndex]:
    view = LexicalIndex(tmp_path / "view", ["text"])
    yield view
    view.close()


def fill(view: LexicalIndex, *texts: str) -> None:
    view.apply([(docno, {"text": text}) for docno, text in enumerate(texts, 1)], [])
    view.commit(1)


def find(view: LexicalIndex, text: str, *, typos: bool = False) -> list[int]:
    return [docno for docno, _ in view.search([TextClause(text, (), typos=typos)], 100)]


def marked(view: LexicalIndex, text: str, document: str, *, typos: bool = False) -> list[str]:
    spans = view.highlighter(text, "text", typos=typos)(document)
    return [document[start:end] for start, end in spans]


LONG = " and so on, with many other words that make this text long" * 20
IDENTIFIERS = [
    ("NO_PROXY", "no proxy proxy no", "Set no_proxy to skip it."),
    ("E61", "61 E 61 E", "The display shows E61."),
    ("dw-e11", "dw e11 dw e11", "Model DW-E11 is quiet"),
    ("v10.2.0", "v10 2 0 v10 2 0", "since (v10.2.0), it is"),
    ("foo.bar()", "foo bar foo bar", "calls `foo.bar(1)`"),
    ("me@example.org", "me example org example", "mail to <me@example.org>"),
    ("std::vector", "std vector std vector", "a std::vector<int>"),
    ("module.__init__", "module init module init", "in module.__init__"),
    ("scikit-learn", "scikit learn scikit learn", "with scikit-learn"),
    ("größe_1.é", "größe 1 é größe 1 é", "hat GRÖSSE_1.É"),
]


@pytest.mark.parametrize(("identifier", "apart", "whole"), IDENTIFIERS)
@pytest.mark.parametrize("typos", [False, True])
def test_identifier_ranks_above_its_parts(
    view: LexicalIndex, identifier: str, apart: str, whole: str, typos: bool
) -> None:
    """However often and however close to each other the parts occur."""
    fill(view, apart, *["something else"] * 20, whole + LONG)
    assert find(view, identifier, typos=typos)[0] == 22


@pytest.mark.parametrize(
    ("query", "document", "words"),
    [
        ("NO_PROXY", "Set no_proxy or NO-PROXY, a proxy", ["no_proxy", "PROXY", "proxy"]),
        ("dw-e11", "DW-E11 is not dw e11", ["DW-E11", "dw", "e11"]),
        ("foo.bar()", "calls `foo.bar(1)`", ["foo.bar"]),
        ("foo.bar baz", "foo.barbaz foo.bar", ["foo", "foo.bar"]),
    ],
)
def test_identifier_is_highlighted_as_a_whole(
    view: LexicalIndex, query: str, document: str, words: list[str]
) -> None:
    assert marked(view, query, document) == words


def test_part_finds_identifier(view: LexicalIndex) -> None:
    fill(view, "Model DW-E11 is quiet", "unset NO_PROXY", "nothing")
    assert find(view, "e11") == [1]
    assert find(view, "proxy") == [2]
    assert find(view, "DW E11") == [1]
    assert marked(view, "e11", "Model DW-E11") == ["E11"]


def test_identifier_in_a_question_comes_first(view: LexicalIndex) -> None:
    fill(
        view,
        "How to set a proxy: no proxy, set the proxy for pip",
        *["something else"] * 20,
        "pip reads NO_PROXY" + LONG,
    )
    assert find(view, "how do I set NO_PROXY for pip")[0] == 22


@pytest.mark.parametrize("prose", ["well-known", "e.g.", "U.S."])
def test_prose_is_no_identifier_in_a_question(view: LexicalIndex, prose: str) -> None:
    """A hyphen or an abbreviation says little about what a question is about."""
    fill(view, "pumps and valves, well known in the us", f"nothing, {prose}" + LONG)
    assert find(view, f"{prose} pumps and valves")[0] == 1
    assert find(view, prose)[0] == 2


def test_changed_identifier_is_found_no_more(view: LexicalIndex) -> None:
    fill(view, "NO_PROXY", "dw-e11")
    view.apply([(1, {"text": "ALL_PROXY"})], [2])
    view.commit(2)
    scores = dict(view.search([TextClause("NO_PROXY", ())], 10))
    assert scores == dict(view.search([TextClause("proxy", ())], 10))
    assert find(view, "dw-e11") == []


def test_typos_highlight_words_that_were_found(view: LexicalIndex) -> None:
    document = "A dishwasher washes dishes; the Dishwashers' doors"
    fill(view, document)
    assert find(view, "dishwahser dor", typos=True) == [1]
    found = marked(view, "dishwahser dor", document, typos=True)
    assert found == ["dishwasher", "Dishwashers", "doors"]
    assert marked(view, "dishwahser dor", document) == []


@pytest.mark.parametrize("word", ["chart", "cahrt", "char", "charts", "chrt", "hcrat", "ch", "xyz"])
def test_typos_highlight_exactly_what_the_search_matches(view: LexicalIndex, word: str) -> None:
    words = ["chart", "charm", "cart", "charter", "hcart", "chrat", "chat", "c", "encyclopedia"]
    fill(view, *words)
    found = [words[docno - 1] for docno in sorted(find(view, word, typos=True))]
    assert marked(view, word, " ".join(words), typos=True) == found


def test_typos_highlight_rarest_words_of_a_long_query(view: LexicalIndex) -> None:
    """As in a search, at most 16 words of a query may be misspelled."""
    common = [f"common{chr(97 + n)}" for n in range(16)]
    fill(view, *[" ".join([*common, "plentiful"])] * 3, "rare words")
    query = " ".join(["plentifull", *common, "rarre"])
    assert marked(view, query, "rare", typos=True) == ["rare"]
    assert marked(view, query, "commonz", typos=True) == ["commonz"]
