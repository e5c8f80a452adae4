"""Explains the rank of a record: its rank at each stage, and its rank without each stage.

These are pure functions of what the search has fetched; they make no further calls. To leave out a
leg, the hits of the other legs are fused, in the reranker's order if there was a rerank. To leave
out the rerank, the fused order is taken. A reranker that compares its candidates with each other,
as the built-in one does, might order fewer of them differently; that is not modeled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from service.indexes.queries import Hit
from service.retrieval.fusion import HitsByLeg
from service.retrieval.query import Explanation, RankedPosition, RankedRecord

Fuse = Callable[[HitsByLeg], list[RankedRecord]]


def explain(
    results: Iterable[RankedRecord],
    found: HitsByLeg,
    fused: Sequence[RankedRecord],
    reranked: Sequence[RankedRecord] | None,
    fuse: Fuse,
) -> dict[str, Explanation]:
    """The explanation of each of `results`, by its id.

    `reranked` is None if the union was not reranked, or the rerank failed.
    """
    legs = {leg: _positions(hits) for leg, hits in found.items()}
    fused_at = _positions(fused)
    reranked_at = _positions(reranked or ())
    without = {leg: _positions(_without(leg, found, reranked, fuse)) for leg in found}
    if reranked is not None:
        without["rerank"] = fused_at
    return {
        result.id: Explanation(
            legs={leg: positions.get(result.id) for leg, positions in legs.items()},
            fused=fused_at[result.id] if len(found) > 1 else None,
            reranked=reranked_at.get(result.id),
            rank_without={
                stage: positions[result.id].rank if result.id in positions else None
                for stage, positions in without.items()
            },
        )
        for result in results
    }


def _positions(ranking: Sequence[Hit | RankedRecord]) -> dict[str, RankedPosition]:
    return {item.id: RankedPosition(rank, item.score) for rank, item in enumerate(ranking, 1)}


def _without(
    leg: str, found: HitsByLeg, reranked: Sequence[RankedRecord] | None, fuse: Fuse
) -> list[RankedRecord]:
    left = fuse({other: hits for other, hits in found.items() if other != leg})
    if reranked is None:
        return left
    ids = {result.id for result in left}
    return [result for result in reranked if result.id in ids]
