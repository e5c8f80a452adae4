"""Fusing: every record once, with every leg that found it, in an order that makes sense."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.indexes.dialect import Hit
from service.retrieval.fusion import fuse as fuse_weighted
from service.retrieval.query import Result


def fuse(legs: dict[str, list[Hit]], *, comparable: bool, asked: int = 3) -> list[Result]:
    weights = {"semantic": 0.5, "lexical": 0.5}
    return fuse_weighted(legs, weights=weights, asked=asked, comparable=comparable)


def hits(**scores: float) -> list[Hit]:
    ranked = sorted(scores.items(), key=lambda pair: -pair[1])
    return [Hit(id, score, {"chunk_text": id}) for id, score in ranked]


def test_a_record_that_both_legs_found_is_there_once_and_names_both() -> None:
    results = fuse({"semantic": hits(a=0.9, b=0.5), "lexical": hits(b=7.0)}, comparable=False)
    assert {result.id: result.found_by for result in results} == {
        "a": ("semantic",),
        "b": ("semantic", "lexical"),
    }


def test_scales_do_not_matter_between_legs() -> None:
    """BM25 goes to 30 and cosine to 1; multiplying a leg's scores changes nothing."""
    dense = hits(a=0.9, b=0.8, c=0.1)
    small = fuse({"semantic": dense, "lexical": hits(c=0.2, b=0.1, d=0.0)}, comparable=False)
    large = fuse({"semantic": dense, "lexical": hits(c=200, b=100, d=0)}, comparable=False)
    assert [result.id for result in small] == [result.id for result in large]


def test_found_high_by_both_beats_found_high_by_one() -> None:
    results = fuse(
        {"semantic": hits(a=0.9, b=0.88, c=0.2, d=0.1), "lexical": hits(b=9, e=3, f=1)},
        comparable=False,
    )
    assert results[0].id == "b"


def test_one_exact_match_among_many_misses_stands_out() -> None:
    """The lexical leg was asked for ten and found one: it has nothing to say for the others."""
    meaning = hits(**{f"like{i}": 0.42 - i / 100 for i in range(10)})
    results = fuse({"semantic": meaning, "lexical": hits(code=9.0)}, comparable=False, asked=10)
    assert results[0].id == "code"


def test_weights_decide_between_legs_that_disagree() -> None:
    legs = {"semantic": hits(a=0.9, b=0.1), "lexical": hits(b=9.0, a=1.0)}
    for weight, first in ((0.7, "a"), (0.3, "b")):
        weights = {"semantic": weight, "lexical": 1 - weight}
        results = fuse_weighted(legs, weights=weights, asked=2, comparable=False)
        assert results[0].id == first


def test_one_leg_alone_keeps_its_own_scores() -> None:
    results = fuse({"lexical": hits(a=7.5, b=2.5)}, comparable=False)
    assert [(result.id, result.score) for result in results] == [("a", 7.5), ("b", 2.5)]


def test_scores_of_one_reranker_are_compared_as_they_are() -> None:
    results = fuse({"semantic": hits(a=0.4, b=0.3), "lexical": hits(c=0.9, a=0.5)}, comparable=True)
    assert [(result.id, result.score) for result in results] == [("c", 0.9), ("a", 0.5), ("b", 0.3)]


def test_equal_scores_and_empty_legs_are_no_trouble() -> None:
    assert fuse({"semantic": [], "lexical": []}, comparable=False) == []
    results = fuse({"semantic": hits(a=1.0, b=1.0), "lexical": []}, comparable=False)
    assert [result.id for result in results] == ["a", "b"]


LEG = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=1),
    st.floats(-1e6, 1e6, allow_nan=False),
    max_size=8,
).map(lambda scores: hits(**scores))


@given(semantic=LEG, lexical=LEG, comparable=st.booleans())
def test_nothing_is_lost_doubled_or_out_of_order(
    semantic: list[Hit], lexical: list[Hit], comparable: bool
) -> None:
    results = fuse({"semantic": semantic, "lexical": lexical}, comparable=comparable)
    ids = [result.id for result in results]
    assert len(ids) == len(set(ids))
    assert set(ids) == {hit.id for hit in [*semantic, *lexical]}
    scores = [result.score for result in results]
    assert scores == sorted(scores, reverse=True)
    for result in results:
        assert result.found_by == tuple(
            name
            for name, leg in (("semantic", semantic), ("lexical", lexical))
            if result.id in {hit.id for hit in leg}
        )
