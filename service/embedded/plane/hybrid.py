"""A query by a dense and a sparse vector at once: the sum of both products.

Exact up to `WIDE` documents, and for whatever is among the first `WIDE` of either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.embedded.index import EmbeddedIndex
from service.embedded.plane.values import metric_of
from service.embedded.ranking import Nearness, Product, Ranking
from service.embedded.sparse import unpack
from service.embedded.store import Document

WIDE = 10_000


async def search_both(
    index: EmbeddedIndex,
    namespace: str,
    rankings: Sequence[Ranking],
    top_k: int,
    filter: Mapping[str, Any] | None,
) -> list[tuple[Document, float]]:
    """The best documents by the sum; the dense field's metric must be a product, too."""
    documents: dict[int, Document] = {}
    for ranking in rankings:
        if isinstance(ranking, Nearness) and metric_of(index.schema, ranking.field) != "dotproduct":
            raise ValueError("only an index with the metric dotproduct takes both kinds of vectors")
        found = await index.search(namespace, ranking, WIDE, filter)
        documents.update((each.docno, each) for each, _ in found)
    await index.read(lambda store: store.with_vectors(list(documents.values())))
    scored = [
        (each, sum(_score(ranking, each) for ranking in rankings)) for each in documents.values()
    ]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0].docno))[:top_k]


def _score(ranking: Ranking, document: Document) -> float:
    if isinstance(ranking, Nearness):
        raw = document.vectors.get(ranking.field)
        return float(np.frombuffer(raw, dtype=np.float32) @ ranking.vector) if raw else 0.0
    assert isinstance(ranking, Product), "nothing else is searched together"  # noqa: S101
    raw = document.vectors.get(ranking.field)
    if not raw:
        return 0.0
    indices, values = unpack(raw)
    weights = dict(zip(ranking.indices, ranking.values, strict=True))
    own = zip(indices.tolist(), values.tolist(), strict=True)
    return float(sum(weights.get(index, 0.0) * value for index, value in own))
