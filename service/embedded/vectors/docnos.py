"""Arrays of document numbers: lookups in sorted arrays, and the selection of the best scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Docnos = NDArray[np.uint32]


def positions_in(ascending: NDArray[np.uint32], wanted: NDArray[np.uint32]) -> NDArray[np.intp]:
    """Return the position of each wanted number in a sorted array, -1 if it is missing."""
    at = ascending.searchsorted(wanted)
    if len(ascending):
        at[ascending.take(at, mode="clip") != wanted] = -1
    else:
        at[:] = -1
    return at


def best_scores(
    docnos: Docnos, scores: NDArray[np.floating[Any]], k: int, *, lower_is_better: bool = False
) -> list[tuple[int, float]]:
    """Return the k best with their scores; equal scores are ordered by number."""
    ranks = scores if lower_is_better else -scores
    if k < len(ranks):
        worst = np.partition(ranks, k - 1)[k - 1]
        near = np.flatnonzero(ranks <= worst)
        docnos, scores, ranks = docnos[near], scores[near], ranks[near]
    order = np.lexsort((docnos, ranks))[:k]
    return list(zip(docnos[order].tolist(), scores[order].tolist(), strict=True))
