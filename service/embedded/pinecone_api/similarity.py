"""Search by a dense vector, a sparse vector, both, or the vectors of a record.

The score of a hybrid search is the sum of both dot products. The best hits of each query are summed
and their number is increased until no other document can exceed the sums found. It ends at
`MAX_WIDTH` hits of each query, where the result may be approximate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.embedded.index import EmbeddedIndex
from service.embedded.pinecone_api.bodies import Sparse
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
from service.indexes.limits import MAX_TOP_K

MIN_WIDTH, WIDENING, MAX_WIDTH = 200, 4, MAX_TOP_K

Ranked = list[tuple[Document, float]]


def queries_by_vectors(
    index: EmbeddedIndex, values: Sequence[float] | None, sparse: Sparse | None
) -> list[IndexQuery]:
    """The queries of a search by vectors. An empty dense vector counts as not given."""
    queries: list[IndexQuery] = []
    if values:
        field = only_field(list(index.views.dense), "dense")
        queries.append(dense_query(index, field, values))
    if sparse is not None:
        queries.append(sparse_query(only_field(list(index.views.sparse), "sparse"), sparse))
    return queries


def dense_query(index: EmbeddedIndex, field: str, values: Sequence[float]) -> DenseQuery:
    metric = metric_of(index.schema, field)
    return DenseQuery(field, parse_dense(values, index.dimensions[field], metric))


def sparse_query(field: str, sparse: Sparse) -> SparseQuery:
    check_sparse(sparse)
    return SparseQuery(field, sparse.indices, sparse.values)


async def queries_by_record(index: EmbeddedIndex, namespace: str, id: str) -> list[IndexQuery]:
    """The queries of a search by the vectors of a record; none if it does not exist."""
    dense = only_field(list(index.views.dense), "dense") if index.views.dense else None
    sparse = only_field(list(index.views.sparse), "sparse") if index.views.sparse else None
    if dense is None and sparse is None:
        raise ValueError("this index has no vectors to compare a record by")
    if dense is not None and metric_of(index.schema, dense) != "dotproduct":
        sparse = None  # a dot product can't be added to another metric
    queries: list[IndexQuery] = []
    for document in await documents_with_vectors(index, namespace, [check_id(id)]):
        if dense is not None and (raw := document.vectors.get(dense)):
            queries.append(DenseQuery(dense, np.frombuffer(raw, dtype=np.float32)))
        if sparse is not None and (raw := document.vectors.get(sparse)):
            queries.append(SparseQuery(sparse, **decode_sparse(raw)))
    return queries


async def documents_with_vectors(
    index: EmbeddedIndex, namespace: str, ids: Sequence[str]
) -> list[Document]:
    """The documents with these ids, in the order of the ids."""

    def read() -> list[Document]:
        found = index.store.documents_by_id(namespace, ids)
        index.store.load_vectors(found)
        return found

    by_id = {each.id: each for each in await index.read(lambda _: read())}
    return [by_id[id] for id in dict.fromkeys(ids) if id in by_id]


async def search(
    index: EmbeddedIndex,
    namespace: str,
    queries: Sequence[IndexQuery],
    top_k: int,
    filter: Mapping[str, Any] | None,
) -> Ranked:
    """The best documents with their scores; none without a query."""
    if not queries:
        return []
    if len(queries) > 1:
        return await _search_hybrid(index, namespace, queries, top_k, filter)
    return await index.search(namespace, queries[0], top_k, filter)


async def _search_hybrid(
    index: EmbeddedIndex,
    namespace: str,
    queries: Sequence[IndexQuery],
    top_k: int,
    filter: Mapping[str, Any] | None,
) -> Ranked:
    for query in queries:
        if isinstance(query, DenseQuery) and metric_of(index.schema, query.field) != "dotproduct":
            raise ValueError(
                "only an index with the metric dotproduct takes a dense and a sparse vector"
            )
    width = min(max(MIN_WIDTH, WIDENING * top_k), MAX_WIDTH)
    while True:
        rankings = [await index.search(namespace, each, width, filter) for each in queries]
        summed = await _sum_scores(index, queries, rankings)
        truncated = [found for found in rankings if len(found) >= width]
        # A document in neither list has no higher sum; one without a vector scores 0 there.
        bound = sum(max(found[-1][1], 0.0) for found in truncated)
        is_exact = len(summed) >= top_k and summed[top_k - 1][1] >= bound
        if not truncated or is_exact or width == MAX_WIDTH:
            return summed[:top_k]
        width = min(width * WIDENING, MAX_WIDTH)


async def _sum_scores(
    index: EmbeddedIndex, queries: Sequence[IndexQuery], rankings: Sequence[Ranked]
) -> Ranked:
    documents = {each.docno: each for found in rankings for each, _ in found}
    await index.read(lambda store: store.load_vectors(list(documents.values())))
    scored = [(each, sum(_score(query, each) for query in queries)) for each in documents.values()]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0].docno))


def _score(query: IndexQuery, document: Document) -> float:
    assert isinstance(query, DenseQuery | SparseQuery), "only these are combined"  # noqa: S101
    raw = document.vectors.get(query.field)
    if not raw:
        return 0.0
    if isinstance(query, DenseQuery):
        return float(np.frombuffer(raw, dtype=np.float32) @ query.vector)
    indices, values = unpack(raw)
    weights = dict(zip(query.indices, query.values, strict=True))
    own = zip(indices.tolist(), values.tolist(), strict=True)
    return float(sum(weights.get(index, 0.0) * value for index, value in own))
