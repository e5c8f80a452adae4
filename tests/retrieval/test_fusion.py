"""Fusion: each record once, with the legs that found it, in the order of its fused score."""

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
    requested: int = 3,
    lexical_weight: float = 0.5,
) -> list[RankedRecord]:
    weights = {"semantic": 1 - lexical_weight, "lexical": lexical_weight}
    return fuse_weighted(legs, method=method, weights=weights, requested=requested)


def ids(results: list[RankedRecord]) -> list[str]:
    return [result.id for result in results]


def hits(**scores: float) -> list[Hit]:
    ranked = sorted(scores.items(), key=lambda pair: -pair[1])
    return [Hit(id, score, {"chunk_text": id}) for id, score in ranked]


@pytest.mark.parametrize("method", [*FUSIONS, "best"])
def test_record_found_by_both_legs_appears_once_with_both(method: Method) -> None:
    results = fuse({"semantic": hits(a=0.9, b=0.5), "lexical": hits(b=7.0)}, method)
    assert {result.id: result.found_by for result in results} == {
        "a": ("semantic",),
        "b": ("semantic", "lexical"),
    }


@every_fusion
def test_record_ranked_high_by_both_legs_is_first(method: Method) -> None:
    results = fuse(
        {"semantic": hits(a=0.9, b=0.88, c=0.2, d=0.1), "lexical": hits(b=9, e=3, f=1)}, method
    )
    assert results[0].id == "b"


@every_fusion
def test_single_exact_match_of_incomplete_leg_is_first(method: Method) -> None:
    """Ten hits were requested of the lexical leg and it has one: no other record matches."""
    meaning = hits(**{f"like{i}": 0.42 - i / 100 for i in range(10)})
    results = fuse(
        {"semantic": meaning, "lexical": hits(code=9.0)}, method, requested=10, lexical_weight=0.55
    )
    assert results[0].id == "code"


@every_fusion
def test_record_missing_from_complete_page_ranks_no_lower_than_its_last_hit(method: Method) -> None:
    """The leg may have more hits, so its last one must not beat the best of the other leg."""
    legs = {"semantic": hits(a=0.9, b=0.5, c=0.4), "lexical": hits(x=30, y=29, c=1)}
    results = fuse(legs, method, requested=3)
    assert ids(results).index("a") < ids(results).index("c")


@every_fusion
def test_weights_decide_if_legs_disagree(method: Method) -> None:
    legs = {"semantic": hits(a=0.9, b=0.1), "lexical": hits(b=9.0, a=1.0)}
    for lexical_weight, first in ((0.3, "a"), (0.7, "b")):
        assert fuse(legs, method, requested=2, lexical_weight=lexical_weight)[0].id == first


def test_outlier_score_counts_with_scores_but_not_with_rrf() -> None:
    legs = {
        "semantic": hits(a=0.52, b=0.51, c=0.50, d=0.1),
        "lexical": hits(b=30, a=3, c=2, d=1),
    }
    assert fuse(legs, "z-score", requested=4)[0].id == "b"
    assert fuse(legs, "min-max", requested=4)[0].id == "b"
    first, second, *_ = fuse(legs, "rrf", requested=4)
    assert first.score == second.score


def test_single_leg_keeps_its_scores() -> None:
    results = fuse({"lexical": hits(a=7.5, b=2.5)})
    assert [(result.id, result.score) for result in results] == [("a", 7.5), ("b", 2.5)]


def test_best_method_takes_highest_score_of_record() -> None:
    results = fuse({"semantic": hits(a=0.4, b=0.3), "lexical": hits(c=0.9, a=0.5)}, "best")
    assert [(result.id, result.score) for result in results] == [("c", 0.9), ("a", 0.5), ("b", 0.3)]


@every_fusion
def test_fusion_accepts_equal_scores_and_empty_legs(method: Method) -> None:
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
REQUESTED = st.integers(1, 10)
WEIGHT = st.floats(0, 1)


@given(
    semantic=LEG,
    lexical=LEG,
    method=st.sampled_from([*FUSIONS, "best"]),
    requested=REQUESTED,
    lexical_weight=WEIGHT,
)
def test_fusion_returns_each_record_once_in_order_of_score(
    semantic: list[Hit],
    lexical: list[Hit],
    method: Method,
    requested: int,
    lexical_weight: float,
) -> None:
    results = fuse(
        {"semantic": semantic, "lexical": lexical},
        method,
        requested=requested,
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
    requested=REQUESTED,
)
def test_fusion_is_independent_of_scale_of_leg(
    semantic: list[Hit], lexical: list[Hit], method: Method, factor: int, shift: int, requested: int
) -> None:
    """And of its zero, unless the leg returned fewer hits than requested: zero is then the score
    of a record that it did not find."""
    if len(lexical) < requested:
        shift = 0
    scaled = [hit._replace(score=hit.score * factor + shift) for hit in lexical]
    before = fuse({"semantic": semantic, "lexical": lexical}, method, requested=requested)
    after = fuse({"semantic": semantic, "lexical": scaled}, method, requested=requested)
    assert [result._replace(fields={}) for result in after] == [
        result._replace(fields={}) for result in before
    ]


@given(semantic=LEG, lexical=LEG, requested=REQUESTED, lexical_weight=WEIGHT)
def test_rrf_depends_on_ranks_only(
    semantic: list[Hit], lexical: list[Hit], requested: int, lexical_weight: float
) -> None:
    def by_rank(leg: list[Hit]) -> list[Hit]:
        return [hit._replace(score=-float(rank)) for rank, hit in enumerate(leg)]

    before, after = (
        fuse(legs, "rrf", requested=requested, lexical_weight=lexical_weight)
        for legs in (
            {"semantic": semantic, "lexical": lexical},
            {"semantic": by_rank(semantic), "lexical": by_rank(lexical)},
        )
    )
    assert after == before


@given(semantic=LEG, lexical=LEG, method=st.sampled_from(FUSIONS), requested=REQUESTED)
def test_leg_with_all_weight_keeps_its_order_first(
    semantic: list[Hit], lexical: list[Hit], method: Method, requested: int
) -> None:
    legs = {"semantic": semantic, "lexical": lexical}
    for lexical_weight, leg in ((0.0, semantic), (1.0, lexical)):
        results = fuse(legs, method, requested=requested, lexical_weight=lexical_weight)
        assert ids(results)[: len(leg)] == [hit.id for hit in leg]
