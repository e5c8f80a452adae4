"""Reading in the vectors dialect: by id, by likeness and by filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from service.embedded.filters.validation import check_filter_fields
from service.embedded.index import EmbeddedIndex
from service.embedded.paging import cut_page, decode_token, pagination
from service.embedded.pinecone_api import similarity
from service.embedded.pinecone_api.bodies import (
    PAGE,
    Filter,
    Ids,
    Limit,
    PageSize,
    Sparse,
    TopK,
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
from service.embedded.selection import page_where
from service.embedded.storage.store import Document

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
    limit: Limit = PAGE
    pagination_token: str | None = None


class Listing(msgspec.Struct, rename="camel"):
    """The parameters of /vectors/list."""

    namespace: str | None = None
    prefix: str | None = None
    limit: PageSize = PAGE
    pagination_token: str | None = None


class Stats(msgspec.Struct):
    """The body of /describe_index_stats."""

    filter: Filter | None = None


async def query(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    asked = read(body, Query)
    namespace = check_namespace(asked.namespace)
    check_filter_fields(index.schema, asked.filter)
    if asked.id is None:
        rankings = similarity.queries_by_vectors(index, asked.vector, asked.sparse_vector)
        if not rankings:
            raise ValueError("a query needs a vector, a sparse vector or an id")
    elif asked.vector is None and asked.sparse_vector is None:
        rankings = await similarity.queries_by_record(index, namespace, asked.id)
    else:
        raise ValueError("a query is by vector or by id, not by both")
    found = await similarity.search(index, namespace, rankings, asked.top_k, asked.filter)
    if asked.include_values:
        await index.read(lambda store: store.load_vectors([each for each, _ in found]))
    matches = []
    for document, score in found:
        values = _values(index, document) if asked.include_values else {}
        metadata = _metadata(document) if asked.include_metadata else {}
        matches.append({"id": document.id, "score": score, **values, **metadata})
    return {"matches": matches, "namespace": asked.namespace or "", "usage": USAGE}


async def fetch(index: EmbeddedIndex, parameters: Mapping[str, Any]) -> dict[str, Any]:
    asked = read_parameters(parameters, Fetch)
    ids = [check_id(id) for id in asked.ids]
    found = await similarity.documents_with_vectors(index, check_namespace(asked.namespace), ids)
    return _fetched(index, asked.namespace, found)


async def fetch_by_metadata(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    asked = read(body, FetchWhere)
    namespace = check_namespace(asked.namespace)
    if not asked.filter:
        raise ValueError("the filter is empty; it needs a condition")
    check_filter_fields(index.schema, asked.filter)
    found, last = await page_where(
        index, namespace, asked.filter, decode_token(asked.pagination_token), asked.limit
    )
    await index.read(lambda store: store.load_vectors(found))
    return {**_fetched(index, asked.namespace, found), **pagination(last)}


async def list_ids(index: EmbeddedIndex, parameters: Mapping[str, Any]) -> dict[str, Any]:
    asked = read_parameters(parameters, Listing)
    namespace, prefix = check_namespace(asked.namespace), check_prefix(asked.prefix)
    after = decode_token(asked.pagination_token)
    ids = await index.read(lambda store: store.list_ids(namespace, prefix, after, asked.limit + 1))
    page, last = cut_page(ids, asked.limit)
    return {
        "vectors": [{"id": id} for id in page],
        "namespace": asked.namespace or "",
        "usage": USAGE,
        **pagination(last),
    }


async def stats(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    asked = read(body or b"{}", Stats)
    counts = await index.read(lambda store: store.namespace_counts())
    if asked.filter:
        check_filter_fields(index.schema, asked.filter)
        counts = {name: await index.count(name, asked.filter) for name in counts}
    dense = next(iter(index.dense), None)
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


def _fetched(
    index: EmbeddedIndex, namespace: str | None, found: Sequence[Document]
) -> dict[str, Any]:
    vectors = {
        each.id: {"id": each.id, **_values(index, each), **_metadata(each)} for each in found
    }
    return {"vectors": vectors, "namespace": namespace or "", "usage": USAGE}


def _metadata(document: Document) -> dict[str, Any]:
    return {"metadata": document.fields} if document.fields else {}


def _values(index: EmbeddedIndex, document: Document) -> dict[str, Any]:
    dense = only_field(list(index.dense), "dense") if index.dense else ""
    sparse = only_field(list(index.sparse), "sparse") if index.sparse else ""
    values: dict[str, Any] = {"values": decode_dense(document.vectors.get(dense, b""))}
    if raw := document.vectors.get(sparse):
        values["sparseValues"] = decode_sparse(raw)
    elif not values["values"]:  # the client asks for one of the two
        values["sparseValues"] = {"indices": [], "values": []}
    return values
