"""Fusion: deduplicates the hits of several legs and merges them into one ranking.

Scores of legs are not comparable: a cosine is at most 1, BM25 unbounded. So each leg gives
every record that any leg found a value on a scale, and a record's score is the mean of its values
with the legs' weights. The methods differ in the scale:

    z-score   how many standard deviations the leg's score is above the mean
    min-max   from 0 for the leg's lowest score to 1 for its highest
    rrf       one divided by a constant and the leg's rank: order alone, whatever the scores

A record that a leg did not find needs a value, too. If the leg returned as many hits as were
requested, it may have more: the record gets the last score, or the next rank. If the leg returned
fewer, the record does not match: it gets a score of zero (or the last score, if that is below
zero), and a value of zero where ranks are used. One exact match among many misses then stands out.

Scores that one reranker gave to all legs are comparable; a record then gets its best score.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf, sqrt
from operator import attrgetter
from statistics import fmean
from typing import Literal

from service.indexes.queries import Hit
from service.retrieval.query import Fusion, RankedRecord

RRF_K = 10  # less than the usual 60: lists here are short (docs/decisions/0010)

HitsByLeg = Mapping[str, Sequence[Hit]]
"""What each leg found, best first, by the leg's name."""


def fuse(
    found: HitsByLeg,
    *,
    method: Fusion | Literal["best"],
    weights: Mapping[str, float],
    requested: int,
) -> list[RankedRecord]:
    """One ranking of every record that any leg found, each record once.

    `requested` is the number of hits that were requested of each leg. A single leg keeps its
    scores.
    """
    if len(found) == 1:
        ((leg, alone),) = found.items()
        return [RankedRecord(hit.id, hit.score, hit.fields, (leg,)) for hit in alone]
    hits = _deduped(found, weights)
    found_by = _found_by(found)
    if method == "best":
        scores = _best_scores(found)
    else:
        scores = _weighted_means(found, hits, SCALES[method], weights, requested)
    results = [RankedRecord(id, scores[id], hit.fields, found_by[id]) for id, hit in hits.items()]
    results.sort(key=attrgetter("score"), reverse=True)  # stable: a tie keeps `_deduped`'s order
    return results


def _deduped(found: HitsByLeg, weights: Mapping[str, float]) -> dict[str, Hit]:
    """Each record once, the heaviest leg's first: a leg with all the weight keeps its order."""
    hits: dict[str, Hit] = {}
    for leg in sorted(found, key=weights.__getitem__, reverse=True):
        for hit in found[leg]:
            hits.setdefault(hit.id, hit)
    return hits


def _found_by(found: HitsByLeg) -> dict[str, tuple[str, ...]]:
    found_by: dict[str, tuple[str, ...]] = {}
    for leg, hits in found.items():
        own = (leg,)
        for hit in hits:
            found_by[hit.id] = found_by.get(hit.id, ()) + own
    return found_by


def _best_scores(found: HitsByLeg) -> dict[str, float]:
    best: dict[str, float] = {}
    for hits in found.values():
        for hit in hits:
            best[hit.id] = max(hit.score, best.get(hit.id, hit.score))
    return best


Scale = Callable[[Sequence[Hit], bool, Collection[str]], list[float]]
"""Maps the hits of a leg, and whether they are complete, to a value for each id."""


def _weighted_means(
    found: HitsByLeg,
    ids: Collection[str],
    scale: Scale,
    weights: Mapping[str, float],
    requested: int,
) -> dict[str, float]:
    total = dict.fromkeys(ids, 0.0)
    share = sum(weights[leg] for leg in found)
    for leg, hits in found.items():
        if hits:
            weight = weights[leg] / share
            values = scale(hits, len(hits) < requested, ids)
            for id, value in zip(ids, values, strict=True):
                total[id] += weight * value
    return total


def _min_max(hits: Sequence[Hit], complete: bool, ids: Collection[str]) -> list[float]:
    """Zeros if all scores are equal, or if their range overflows a float."""
    scores = {hit.id: hit.score for hit in hits}
    last = min(scores.values())
    missing = min(0.0, last) if complete else last
    values = [scores.get(id, missing) for id in ids]
    low = min(values)
    spread = max(values) - low
    if not 0 < spread < inf:
        return [0.0] * len(values)
    return [(value - low) / spread for value in values]


def _z_scores(hits: Sequence[Hit], complete: bool, ids: Collection[str]) -> list[float]:
    """Computed from the min-max values: same result, but squares cannot overflow or underflow."""
    values = _min_max(hits, complete, ids)
    mean = fmean(values)
    deviation = sqrt(fmean([(value - mean) ** 2 for value in values]))
    return [(value - mean) / deviation for value in values] if deviation else values


def _reciprocal_ranks(hits: Sequence[Hit], complete: bool, ids: Collection[str]) -> list[float]:
    ranks = {hit.id: rank for rank, hit in enumerate(hits, 1)}
    missing = 0.0 if complete else 1 / (RRF_K + len(hits) + 1)
    return [1 / (RRF_K + ranks[id]) if id in ranks else missing for id in ids]


SCALES: Mapping[Fusion, Scale] = {
    "z-score": _z_scores,
    "min-max": _min_max,
    "rrf": _reciprocal_ranks,
}
