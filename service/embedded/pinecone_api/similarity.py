"""What is like a vector, like a sparse one, like both, or like a record.

Both at once is the sum of both products. The best of either are added up, more and more of them,
until whatever is further down in both can't come up to the sums that are found; past `WIDEST` of
each it is good enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.embedded.index import EmbeddedIndex
from service.embedded.pinecone_api.bodies import MAX_TOP_K, Sparse
from service.embedded.pinecone_api.validation import (
    check_id,
    check_sparse,
    decode_sparse,
    metric_of,
    only_field,
    parse_dense,
)
from service.embedded.queries import DenseQuery, IndexQuery, SparseQuery
from service.embedded.storage.store import Document
from service.embedded.vectors.sparse import unpack

FIRST, WIDER, WIDEST = 200, 4, MAX_TOP_K

Ranked = list[tuple[Document, float]]


def queries_by_vectors(
    index: EmbeddedIndex, values: Sequence[float] | None, sparse: Sparse | None
) -> list[IndexQuery]:
    """An empty dense vector is none."""
    rankings: list[IndexQuery] = []
    if values:
        field = only_field(list(index.dense), "dense")
        rankings.append(dense_query(index, field, values))
    if sparse is not None:
        rankings.append(sparse_query(only_field(list(index.sparse), "sparse"), sparse))
    return rankings


def dense_query(index: EmbeddedIndex, field: str, values: Sequence[float]) -> DenseQuery:
    metric = metric_of(index.schema, field)
    return DenseQuery(field, parse_dense(values, index.dimensions[field], metric))


def sparse_query(field: str, sparse: Sparse) -> SparseQuery:
    check_sparse(sparse)
    return SparseQuery(field, sparse.indices, sparse.values)


async def queries_by_record(index: EmbeddedIndex, namespace: str, id: str) -> list[IndexQuery]:
    """By the vectors of a record; nothing, if there is no such record."""
    dense = only_field(list(index.dense), "dense") if index.dense else None
    sparse = only_field(list(index.sparse), "sparse") if index.sparse else None
    if dense is None and sparse is None:
        raise ValueError("this index has no vectors that a record could be compared by")
    if dense is not None and metric_of(index.schema, dense) != "dotproduct":
        sparse = None  # products can't be added to it
    rankings: list[IndexQuery] = []
    for document in await documents_with_vectors(index, namespace, [check_id(id)]):
        if dense is not None and (raw := document.vectors.get(dense)):
            rankings.append(DenseQuery(dense, np.frombuffer(raw, dtype=np.float32)))
        if sparse is not None and (raw := document.vectors.get(sparse)):
            rankings.append(SparseQuery(sparse, **decode_sparse(raw)))
    return rankings


async def documents_with_vectors(
    index: EmbeddedIndex, namespace: str, ids: Sequence[str]
) -> list[Document]:
    """The records with these ids, in the order in which they were asked for."""

    def read() -> list[Document]:
        found = index.store.documents_by_id(namespace, ids)
        index.store.load_vectors(found)
        return found

    by_id = {each.id: each for each in await index.read(lambda _: read())}
    return [by_id[id] for id in dict.fromkeys(ids) if id in by_id]


async def search(
    index: EmbeddedIndex,
    namespace: str,
    rankings: Sequence[IndexQuery],
    top_k: int,
    filter: Mapping[str, Any] | None,
) -> Ranked:
    """The best documents with their scores; none for no ranking."""
    if not rankings:
        return []
    if len(rankings) > 1:
        return await _search_both(index, namespace, rankings, top_k, filter)
    return await index.search(namespace, rankings[0], top_k, filter)


async def _search_both(
    index: EmbeddedIndex,
    namespace: str,
    rankings: Sequence[IndexQuery],
    top_k: int,
    filter: Mapping[str, Any] | None,
) -> Ranked:
    for ranking in rankings:
        if (
            isinstance(ranking, DenseQuery)
            and metric_of(index.schema, ranking.field) != "dotproduct"
        ):
            raise ValueError("only an index with the metric dotproduct takes both kinds of vectors")
    wide = min(max(FIRST, WIDER * top_k), WIDEST)
    while True:
        lists = [await index.search(namespace, each, wide, filter) for each in rankings]
        best = await _summed(index, rankings, lists)
        unfinished = [found for found in lists if len(found) >= wide]
        # What is in neither list has no higher sum; without a vector it has 0 for its part.
        below = sum(max(found[-1][1], 0.0) for found in unfinished)
        reached = len(best) >= top_k and best[top_k - 1][1] >= below
        if not unfinished or reached or wide == WIDEST:
            return best[:top_k]
        wide = min(wide * WIDER, WIDEST)


async def _summed(
    index: EmbeddedIndex, rankings: Sequence[IndexQuery], lists: Sequence[Ranked]
) -> Ranked:
    documents = {each.docno: each for found in lists for each, _ in found}
    await index.read(lambda store: store.load_vectors(list(documents.values())))
    scored = [
        (each, sum(_score(ranking, each) for ranking in rankings)) for each in documents.values()
    ]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0].docno))


def _score(ranking: IndexQuery, document: Document) -> float:
    assert isinstance(ranking, DenseQuery | SparseQuery), "nothing else is summed up"  # noqa: S101
    raw = document.vectors.get(ranking.field)
    if not raw:
        return 0.0
    if isinstance(ranking, DenseQuery):
        return float(np.frombuffer(raw, dtype=np.float32) @ ranking.vector)
    indices, values = unpack(raw)
    weights = dict(zip(ranking.indices, ranking.values, strict=True))
    own = zip(indices.tolist(), values.tolist(), strict=True)
    return float(sum(weights.get(index, 0.0) * value for index, value in own))
