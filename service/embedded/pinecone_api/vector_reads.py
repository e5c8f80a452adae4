"""Reads in the vectors dialect: query, fetch, list and statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from service.embedded.filters.validation import check_filter_fields
from service.embedded.index import EmbeddedIndex
from service.embedded.pinecone_api import similarity
from service.embedded.pinecone_api.bodies import (
    Filter,
    Ids,
    Limit,
    PageSize,
    Sparse,
    TopK,
    pagination,
    read,
    read_parameters,
)
from service.embedded.pinecone_api.validation import (
    check_id,
    check_namespace,
    check_prefix,
    decode_dense,
    decode_sparse,
    metric_of,
    only_field,
)
from service.embedded.selection import page_of_ids, page_where
from service.embedded.storage.store import Document
from service.indexes.limits import MAX_PAGE

USAGE = {"readUnits": 1}


class Query(msgspec.Struct, rename="camel"):
    """The body of /query."""

    top_k: TopK
    namespace: str | None = None
    vector: list[float] | None = None
    id: str | None = None
    sparse_vector: Sparse | None = None
    filter: Filter | None = None
    include_values: bool = False
    include_metadata: bool = False


class Fetch(msgspec.Struct):
    """The parameters of /vectors/fetch."""

    ids: Ids
    namespace: str | None = None


class FetchWhere(msgspec.Struct, rename="camel"):
    """The body of /vectors/fetch_by_metadata."""

    filter: Filter
    namespace: str | None = None
    limit: Limit = MAX_PAGE
    pagination_token: str | None = None


class Listing(msgspec.Struct, rename="camel"):
    """The parameters of /vectors/list."""

    namespace: str | None = None
    prefix: str | None = None
    limit: PageSize = MAX_PAGE
    pagination_token: str | None = None


class Stats(msgspec.Struct):
    """The body of /describe_index_stats."""

    filter: Filter | None = None


async def query(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    request = read(body, Query)
    namespace = check_namespace(request.namespace)
    check_filter_fields(index.schema, request.filter)
    if request.id is None:
        queries = similarity.queries_by_vectors(index, request.vector, request.sparse_vector)
        if not queries:
            raise ValueError("a query needs a vector, a sparse vector or an id")
    elif request.vector is None and request.sparse_vector is None:
        queries = await similarity.queries_by_record(index, namespace, request.id)
    else:
        raise ValueError("give a vector or an id to query by, not both")
    found = await similarity.search(index, namespace, queries, request.top_k, request.filter)
    if request.include_values:
        await index.read(lambda store: store.load_vectors([each for each, _ in found]))
    matches = []
    for document, score in found:
        values = _values(index, document) if request.include_values else {}
        metadata = _metadata(document) if request.include_metadata else {}
        matches.append({"id": document.id, "score": score, **values, **metadata})
    return {"matches": matches, "namespace": request.namespace or "", "usage": USAGE}


async def fetch(index: EmbeddedIndex, parameters: Mapping[str, Any]) -> dict[str, Any]:
    request = read_parameters(parameters, Fetch)
    ids = [check_id(id) for id in request.ids]
    found = await similarity.documents_with_vectors(index, check_namespace(request.namespace), ids)
    return _fetch_body(index, request.namespace, found)


async def fetch_by_metadata(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    request = read(body, FetchWhere)
    namespace = check_namespace(request.namespace)
    if not request.filter:
        raise ValueError("the filter is empty; give it a condition")
    check_filter_fields(index.schema, request.filter)
    found, following = await page_where(
        index, namespace, request.filter, request.pagination_token, request.limit
    )
    await index.read(lambda store: store.load_vectors(found))
    return {**_fetch_body(index, request.namespace, found), **pagination(following)}


async def list_ids(index: EmbeddedIndex, parameters: Mapping[str, Any]) -> dict[str, Any]:
    request = read_parameters(parameters, Listing)
    namespace, prefix = check_namespace(request.namespace), check_prefix(request.prefix)
    page, following = await page_of_ids(
        index, namespace, prefix, request.pagination_token, request.limit
    )
    return {
        "vectors": [{"id": id} for id in page],
        "namespace": request.namespace or "",
        "usage": USAGE,
        **pagination(following),
    }


async def stats(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    request = read(body or b"{}", Stats)
    counts = await index.read(lambda store: store.namespace_counts())
    if request.filter:
        check_filter_fields(index.schema, request.filter)
        counts = {name: await index.count(name, request.filter) for name in counts}
    dense = next(iter(index.views.dense), None)
    about_dense = (
        {"dimension": index.dimensions[dense], "metric": metric_of(index.schema, dense)}
        if dense is not None
        else {"metric": "dotproduct"}
    )
    return {
        "namespaces": {name: {"vectorCount": count} for name, count in counts.items()},
        "indexFullness": 0.0,
        "totalVectorCount": sum(counts.values()),
        "vectorType": "dense" if dense is not None else "sparse",
        **about_dense,
    }


def _fetch_body(
    index: EmbeddedIndex, namespace: str | None, found: Sequence[Document]
) -> dict[str, Any]:
    vectors = {
        each.id: {"id": each.id, **_values(index, each), **_metadata(each)} for each in found
    }
    return {"vectors": vectors, "namespace": namespace or "", "usage": USAGE}


def _metadata(document: Document) -> dict[str, Any]:
    return {"metadata": document.fields} if document.fields else {}


def _values(index: EmbeddedIndex, document: Document) -> dict[str, Any]:
    dense = only_field(list(index.views.dense), "dense") if index.views.dense else ""
    sparse = only_field(list(index.views.sparse), "sparse") if index.views.sparse else ""
    values: dict[str, Any] = {"values": decode_dense(document.vectors.get(dense, b""))}
    if raw := document.vectors.get(sparse):
        values["sparseValues"] = decode_sparse(raw)
    elif not values["values"]:  # the client requires one of the two
        values["sparseValues"] = {"indices": [], "values": []}
    return values
