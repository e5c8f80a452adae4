"""Why a record stands where it stands: its place at each stage, and without each of them. Pure.

Works on what the search has fetched anyway, so it asks nobody anything. Without a leg, what the
other legs found is fused, in the reranker's order where there was a rerank; without the rerank, the
order is the fused one. A reranker that looks at its candidates together, as the built-in one does,
might order fewer of them otherwise: what it would have done is not known here.
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

    `reranked` is None where there was no rerank of the union, or none that came to its end.
    """
    legs = {leg: _places(hits) for leg, hits in found.items()}
    fused_at = _places(fused)
    reranked_at = _places(reranked or ())
    without = {leg: _places(_without(leg, found, reranked, fuse)) for leg in found}
    if reranked is not None:
        without["rerank"] = fused_at
    return {
        result.id: Explanation(
            legs={leg: places.get(result.id) for leg, places in legs.items()},
            fused=fused_at[result.id] if len(found) > 1 else None,
            reranked=reranked_at.get(result.id),
            rank_without={
                stage: places[result.id].rank if result.id in places else None
                for stage, places in without.items()
            },
        )
        for result in results
    }


def _places(ranking: Sequence[Hit | RankedRecord]) -> dict[str, RankedPosition]:
    return {item.id: RankedPosition(rank, item.score) for rank, item in enumerate(ranking, 1)}


def _without(
    leg: str, found: HitsByLeg, reranked: Sequence[RankedRecord] | None, fuse: Fuse
) -> list[RankedRecord]:
    left = fuse({other: hits for other, hits in found.items() if other != leg})
    if reranked is None:
        return left
    ids = {result.id for result in left}
    return [result for result in reranked if result.id in ids]
