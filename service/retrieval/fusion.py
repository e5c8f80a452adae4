"""Dedupe and fuse: several legs' hits become one ranking. Pure.

Scores of different legs are not comparable, so each leg's become z-scores (how many standard
deviations above the mean) over everything that any leg found, and a record's z-scores are averaged
with the legs' weights. What a leg did not find has to count as something there. If the leg returned
as many as it was asked for, there may be more behind: it counts as its last one. If it returned
fewer, it has nothing more to say, and it counts as zero: one exact match among many misses then
stands out as it should. Scores that one reranker gave to all legs are comparable; the best counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import sqrt
from statistics import fmean

from service.indexes.dialect import Hit
from service.retrieval.query import Result


def fuse(
    legs: Mapping[str, Sequence[Hit]],
    *,
    weights: Mapping[str, float],
    asked: int,
    comparable: bool,
) -> list[Result]:
    """One ranking of every record that any leg found, each record once.

    `asked` is how many hits each leg was asked for.
    """
    if len(legs) == 1:
        ((leg, alone),) = legs.items()
        return [Result(hit.id, hit.score, hit.fields, (leg,)) for hit in alone]
    found_by: dict[str, tuple[str, ...]] = {}
    hits: dict[str, Hit] = {}
    for leg, leg_hits in legs.items():
        by_it = (leg,)
        for hit in leg_hits:
            if hits.setdefault(hit.id, hit) is hit:
                found_by[hit.id] = by_it
            else:
                found_by[hit.id] += by_it
    scores = _best_scores(legs) if comparable else _mean_z_scores(legs, hits, weights, asked)
    results = [Result(id, scores[id], hit.fields, found_by[id]) for id, hit in hits.items()]
    results.sort(key=_by_score, reverse=True)  # stable: a tie keeps the order of the legs
    return results


def _by_score(result: Result) -> float:
    return result.score


def _best_scores(legs: Mapping[str, Sequence[Hit]]) -> dict[str, float]:
    best: dict[str, float] = {}
    for hits in legs.values():
        for hit in hits:
            best[hit.id] = max(hit.score, best.get(hit.id, hit.score))
    return best


def _mean_z_scores(
    legs: Mapping[str, Sequence[Hit]],
    ids: Collection[str],
    weights: Mapping[str, float],
    asked: int,
) -> dict[str, float]:
    total = dict.fromkeys(ids, 0.0)
    share = sum(weights[leg] for leg in legs)
    for leg, hits in legs.items():
        if not hits:
            continue
        scores = {hit.id: hit.score for hit in hits}
        last = min(scores.values())
        missing = last if len(hits) >= asked else min(0.0, last)
        values = [scores.get(id, missing) for id in ids]
        mean = fmean(values)
        if spread := max(values) - min(values):  # squares of what is divided by it never vanish
            squares = [((value - mean) / spread) ** 2 for value in values]
            deviation = spread * sqrt(fmean(squares))
            weight = weights[leg] / share
            for id, value in zip(ids, values, strict=True):
                total[id] += weight * ((value - mean) / deviation)
    return total
