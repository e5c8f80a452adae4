"""Fusing: every record once, with every leg that found it, in an order that makes sense."""

from __future__ import annotations

from math import isfinite
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.indexes.queries import Hit
from service.retrieval.fusion import fuse as fuse_weighted
from service.retrieval.query import Fusion, RankedRecord

Method = Fusion | Literal["best"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)
every_fusion = pytest.mark.parametrize("method", FUSIONS)


def fuse(
    legs: dict[str, list[Hit]],
    method: Method = "z-score",
    *,
    asked: int = 3,
    lexical_weight: float = 0.5,
) -> list[RankedRecord]:
    weights = {"semantic": 1 - lexical_weight, "lexical": lexical_weight}
    return fuse_weighted(legs, method=method, weights=weights, asked=asked)


def ids(results: list[RankedRecord]) -> list[str]:
    return [result.id for result in results]


def hits(**scores: float) -> list[Hit]:
    ranked = sorted(scores.items(), key=lambda pair: -pair[1])
    return [Hit(id, score, {"chunk_text": id}) for id, score in ranked]


@pytest.mark.parametrize("method", [*FUSIONS, "best"])
def test_a_record_that_both_legs_found_is_there_once_and_names_both(method: Method) -> None:
    results = fuse({"semantic": hits(a=0.9, b=0.5), "lexical": hits(b=7.0)}, method)
    assert {result.id: result.found_by for result in results} == {
        "a": ("semantic",),
        "b": ("semantic", "lexical"),
    }


@every_fusion
def test_found_high_by_both_beats_found_high_by_one(method: Method) -> None:
    results = fuse(
        {"semantic": hits(a=0.9, b=0.88, c=0.2, d=0.1), "lexical": hits(b=9, e=3, f=1)}, method
    )
    assert results[0].id == "b"


@every_fusion
def test_one_exact_match_among_many_misses_stands_out(method: Method) -> None:
    """The lexical leg was asked for ten and found one: it has nothing to say for the others."""
    meaning = hits(**{f"like{i}": 0.42 - i / 100 for i in range(10)})
    results = fuse(
        {"semantic": meaning, "lexical": hits(code=9.0)}, method, asked=10, lexical_weight=0.55
    )
    assert results[0].id == "code"


@every_fusion
def test_what_a_full_leg_did_not_find_is_no_worse_than_its_last(method: Method) -> None:
    """There may be more behind it, so a place at its end says little for the other leg's best."""
    legs = {"semantic": hits(a=0.9, b=0.5, c=0.4), "lexical": hits(x=30, y=29, c=1)}
    results = fuse(legs, method, asked=3)
    assert ids(results).index("a") < ids(results).index("c")


@every_fusion
def test_weights_decide_between_legs_that_disagree(method: Method) -> None:
    legs = {"semantic": hits(a=0.9, b=0.1), "lexical": hits(b=9.0, a=1.0)}
    for lexical_weight, first in ((0.3, "a"), (0.7, "b")):
        assert fuse(legs, method, asked=2, lexical_weight=lexical_weight)[0].id == first


def test_what_stands_out_counts_by_scores_but_not_by_ranks() -> None:
    legs = {
        "semantic": hits(a=0.52, b=0.51, c=0.50, d=0.1),
        "lexical": hits(b=30, a=3, c=2, d=1),
    }
    assert fuse(legs, "z-score", asked=4)[0].id == "b"
    assert fuse(legs, "min-max", asked=4)[0].id == "b"
    first, second, *_ = fuse(legs, "rrf", asked=4)
    assert first.score == second.score


def test_one_leg_alone_keeps_its_own_scores() -> None:
    results = fuse({"lexical": hits(a=7.5, b=2.5)})
    assert [(result.id, result.score) for result in results] == [("a", 7.5), ("b", 2.5)]


def test_scores_of_one_reranker_are_compared_as_they_are() -> None:
    results = fuse({"semantic": hits(a=0.4, b=0.3), "lexical": hits(c=0.9, a=0.5)}, "best")
    assert [(result.id, result.score) for result in results] == [("c", 0.9), ("a", 0.5), ("b", 0.3)]


@every_fusion
def test_equal_scores_and_empty_legs_are_no_trouble(method: Method) -> None:
    assert fuse({}, method) == []
    assert fuse({"semantic": [], "lexical": []}, method) == []
    results = fuse({"semantic": hits(a=1.0, b=1.0), "lexical": []}, method)
    assert ids(results) == ["a", "b"]


ID = st.text("abcdefgh", min_size=1, max_size=1)


def legs_of(scores: st.SearchStrategy[float]) -> st.SearchStrategy[list[Hit]]:
    return st.dictionaries(ID, scores, max_size=8).map(lambda scores: hits(**scores))


SCORE = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 1e308, -1e308, 5e-324, 1e-300, -0.0])
LEG = legs_of(SCORE)
WHOLE_LEG = legs_of(st.integers(-1000, 1000).map(float))  # so that arithmetic is exact
ASKED = st.integers(1, 10)
WEIGHT = st.floats(0, 1)


@given(
    semantic=LEG,
    lexical=LEG,
    method=st.sampled_from([*FUSIONS, "best"]),
    asked=ASKED,
    lexical_weight=WEIGHT,
)
def test_nothing_is_lost_doubled_or_out_of_order_whatever_the_scores(
    semantic: list[Hit],
    lexical: list[Hit],
    method: Method,
    asked: int,
    lexical_weight: float,
) -> None:
    results = fuse(
        {"semantic": semantic, "lexical": lexical},
        method,
        asked=asked,
        lexical_weight=lexical_weight,
    )
    assert len(results) == len(set(ids(results)))
    assert set(ids(results)) == {hit.id for hit in [*semantic, *lexical]}
    scores = [result.score for result in results]
    assert all(map(isfinite, scores))
    assert scores == sorted(scores, reverse=True)
    for result in results:
        assert result.found_by == tuple(
            name
            for name, leg in (("semantic", semantic), ("lexical", lexical))
            if result.id in {hit.id for hit in leg}
        )


@given(
    semantic=WHOLE_LEG,
    lexical=WHOLE_LEG,
    method=st.sampled_from(["z-score", "min-max"]),
    factor=st.integers(1, 1000),
    shift=st.integers(-1000, 1000),
    asked=ASKED,
)
def test_the_scale_of_a_leg_does_not_matter(
    semantic: list[Hit], lexical: list[Hit], method: Method, factor: int, shift: int, asked: int
) -> None:
    """Nor does its zero, but for a leg that found less than it was asked for: to it, zero is what
    it did not find."""
    if len(lexical) < asked:
        shift = 0
    scaled = [hit._replace(score=hit.score * factor + shift) for hit in lexical]
    before = fuse({"semantic": semantic, "lexical": lexical}, method, asked=asked)
    after = fuse({"semantic": semantic, "lexical": scaled}, method, asked=asked)
    assert [result._replace(fields={}) for result in after] == [
        result._replace(fields={}) for result in before
    ]


@given(semantic=LEG, lexical=LEG, asked=ASKED, lexical_weight=WEIGHT)
def test_ranks_are_all_that_rrf_looks_at(
    semantic: list[Hit], lexical: list[Hit], asked: int, lexical_weight: float
) -> None:
    def by_rank(leg: list[Hit]) -> list[Hit]:
        return [hit._replace(score=-float(rank)) for rank, hit in enumerate(leg)]

    before, after = (
        fuse(legs, "rrf", asked=asked, lexical_weight=lexical_weight)
        for legs in (
            {"semantic": semantic, "lexical": lexical},
            {"semantic": by_rank(semantic), "lexical": by_rank(lexical)},
        )
    )
    assert after == before


@given(semantic=LEG, lexical=LEG, method=st.sampled_from(FUSIONS), asked=ASKED)
def test_a_leg_with_all_the_weight_decides_and_comes_first(
    semantic: list[Hit], lexical: list[Hit], method: Method, asked: int
) -> None:
    legs = {"semantic": semantic, "lexical": lexical}
    for lexical_weight, leg in ((0.0, semantic), (1.0, lexical)):
        results = fuse(legs, method, asked=asked, lexical_weight=lexical_weight)
        assert ids(results)[: len(leg)] == [hit.id for hit in leg]
