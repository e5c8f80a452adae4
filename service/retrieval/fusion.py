"""Dedupe and fuse: several legs' hits become one ranking. Pure.

Scores of different legs are not comparable, so each leg's scores become z-scores (how many standard
deviations above the leg's mean) and a record's z-scores are averaged. A leg that did not find a
record gives it the leg's lowest z-score: "no better than the worst that I found". Scores that one
reranker gave to all legs are comparable, so there the best one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev

from service.indexes.dialect import Hit
from service.retrieval.query import Result


def fuse(legs: Mapping[str, Sequence[Hit]], *, comparable: bool) -> list[Result]:
    """One ranking of every record that any leg found, each record once."""
    if len(legs) == 1:
        ((leg, alone),) = legs.items()
        return [Result(hit.id, hit.score, hit.fields, (leg,)) for hit in alone]
    found_by: dict[str, tuple[str, ...]] = {}
    hits: dict[str, Hit] = {}
    for leg, leg_hits in legs.items():
        for hit in leg_hits:
            known = found_by.get(hit.id, ())
            if leg not in known:
                found_by[hit.id] = (*known, leg)
            hits.setdefault(hit.id, hit)
    scores = _best_scores(legs) if comparable else _mean_z_scores(legs, hits)
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


def _mean_z_scores(legs: Mapping[str, Sequence[Hit]], ids: Mapping[str, Hit]) -> dict[str, float]:
    total = dict.fromkeys(ids, 0.0)
    for hits in legs.values():
        if not hits:
            continue
        z = _z_scores(hits)
        worst = min(z.values())
        for id in total:
            total[id] += z.get(id, worst)
    return {id: sum_of_z / len(legs) for id, sum_of_z in total.items()}


def _z_scores(hits: Sequence[Hit]) -> dict[str, float]:
    scores = [hit.score for hit in hits]
    mean, deviation = fmean(scores), pstdev(scores)
    return {hit.id: (hit.score - mean) / deviation if deviation else 0.0 for hit in hits}
