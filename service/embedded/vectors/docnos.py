"""Arrays of document numbers: where they are, and which have the best scores.

Knows nothing of where the scores come from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Docnos = NDArray[np.uint32]


def positions_in(ascending: NDArray[np.uint32], wanted: NDArray[np.uint32]) -> NDArray[np.intp]:
    """Where each of the wanted is, -1 for those that are not."""
    at = ascending.searchsorted(wanted)
    if len(ascending):
        at[ascending.take(at, mode="clip") != wanted] = -1
    else:
        at[:] = -1
    return at


def top_k(
    docnos: Docnos, scores: NDArray[np.floating[Any]], k: int, *, lower_is_better: bool = False
) -> list[tuple[int, float]]:
    """The k best, equals in the order of their numbers: one question has one answer."""
    ranks = scores if lower_is_better else -scores
    if k < len(ranks):
        worst = np.partition(ranks, k - 1)[k - 1]
        near = np.flatnonzero(ranks <= worst)
        docnos, scores, ranks = docnos[near], scores[near], ranks[near]
    order = np.lexsort((docnos, ranks))[:k]
    return list(zip(docnos[order].tolist(), scores[order].tolist(), strict=True))
