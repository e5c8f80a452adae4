"""The vectors dialect: vectors with metadata, by id, by likeness and by filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.embedded.drafts import Draft
from service.embedded.index import EmbeddedIndex
from service.embedded.plane import likeness
from service.embedded.plane.bodies import (
    MAX_WRITTEN,
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
from service.embedded.plane.conditions import checked_filter, checked_selector
from service.embedded.plane.paging import page_of_ids, pagination, read_token
from service.embedded.plane.selecting import change_where, page_where
from service.embedded.plane.values import (
    checked_fields,
    checked_id,
    checked_prefix,
    dense_list,
    metric_of,
    namespace_of,
    only,
    sparse_dict,
    stored_dense,
    stored_sparse,
)
from service.embedded.store import Document

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


class Item(msgspec.Struct, rename="camel"):
    """A vector to be written."""

    id: str
    values: list[float] | None = None
    sparse_values: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class Upsert(msgspec.Struct):
    """The body of /vectors/upsert."""

    vectors: Annotated[list[Item], Meta(min_length=1, max_length=MAX_WRITTEN)]
    namespace: str | None = None


class Update(msgspec.Struct, rename="camel"):
    """The body of /vectors/update."""

    id: str | None = None
    values: list[float] | None = None
    sparse_values: dict[str, Any] | None = None
    set_metadata: dict[str, Any] | None = None
    filter: Filter | None = None
    dry_run: bool = False
    namespace: str | None = None


class Delete(msgspec.Struct, rename="camel"):
    """The body of /vectors/delete."""

    ids: Ids | None = None
    delete_all: bool = False
    filter: Filter | None = None
    namespace: str | None = None


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


# --- writing -------------------------------------------------------------------------------------


async def upsert(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    """Of several vectors with one id the last one stays."""
    asked = read(body, Upsert)
    drafts = [_draft(index, each) for each in asked.vectors]
    await index.put(namespace_of(asked.namespace), drafts)
    return {"upsertedCount": len(drafts)}


def _draft(index: EmbeddedIndex, item: Item) -> Draft:
    id = checked_id(item.id)
    whose = f"vector {id!r}"
    metadata = without_nulls(item.metadata or {})
    checked_fields(index.schema, metadata, whose)
    vectors = _vectors(index, item.values, item.sparse_values, whose)
    if not vectors:
        raise ValueError(f"{whose} has neither values nor sparse values")
    return Draft(id, metadata, vectors)


def without_nulls(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """As Pinecone writes metadata: a null is left out."""
    return {name: value for name, value in metadata.items() if value is not None}


def _vectors(
    index: EmbeddedIndex, values: list[float] | None, sparse: Mapping[str, Any] | None, whose: str
) -> dict[str, bytes]:
    vectors: dict[str, bytes] = {}
    if values:
        field = only(list(index.dense), "dense")
        dimension = index.dimensions[field]
        vectors[field] = stored_dense(values, index.schema, field, dimension, whose)
    if sparse is not None:
        field = only(list(index.sparse), "sparse")
        vectors[field] = stored_sparse(sparse, field, whose)
    return vectors


async def update(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    asked = read(body, Update)
    namespace = namespace_of(asked.namespace)
    if (asked.id is None) == (asked.filter is None):
        raise ValueError("an update is by id or by filter: just one of them")
    vectors = _vectors(index, asked.values, asked.sparse_values, "the update")
    fresh = without_nulls(asked.set_metadata or {})
    checked_fields(index.schema, fresh, "the update")

    def changed(document: Document) -> Draft:
        fields = {**document.fields, **fresh}
        checked_fields(index.schema, fields, f"vector {document.id!r}")
        kept = {
            name: raw
            for name, raw in document.vectors.items()
            if name not in fresh  # a text that changes is embedded anew
        }
        return Draft(document.id, fields, {**kept, **vectors})

    if asked.filter is None:
        await index.change(namespace, [checked_id(asked.id)], changed)
        return {}
    if vectors:
        raise ValueError("an update by filter changes metadata only")
    checked_selector(index.schema, asked.filter)
    if asked.dry_run:
        return {"matchedRecords": await index.count(namespace, asked.filter)}
    return {"matchedRecords": await change_where(index, namespace, asked.filter, changed)}


async def delete(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    asked = read(body, Delete)
    namespace = namespace_of(asked.namespace)
    if (asked.ids is not None) + asked.delete_all + (asked.filter is not None) != 1:
        raise ValueError("a delete is by ids, by filter or of all: just one of them")
    if asked.delete_all:
        await index.clear(namespace)
    elif asked.filter is not None:
        checked_selector(index.schema, asked.filter)
        await index.remove_where(namespace, asked.filter)
    else:
        await index.remove(namespace, [checked_id(id) for id in asked.ids or []])
    return {}


# --- reading -------------------------------------------------------------------------------------


async def query(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    asked = read(body, Query)
    namespace = namespace_of(asked.namespace)
    checked_filter(index.schema, asked.filter)
    if asked.id is None:
        rankings = likeness.by_vectors(index, asked.vector, asked.sparse_vector)
        if not rankings:
            raise ValueError("a query needs a vector, a sparse vector or an id")
    elif asked.vector is None and asked.sparse_vector is None:
        rankings = await likeness.by_record(index, namespace, asked.id)
    else:
        raise ValueError("a query is by vector or by id, not by both")
    found = await likeness.search(index, namespace, rankings, asked.top_k, asked.filter)
    if asked.include_values:
        await index.read(lambda store: store.with_vectors([each for each, _ in found]))
    matches = []
    for document, score in found:
        values = _values(index, document) if asked.include_values else {}
        metadata = _metadata(document) if asked.include_metadata else {}
        matches.append({"id": document.id, "score": score, **values, **metadata})
    return {"matches": matches, "namespace": asked.namespace or "", "usage": USAGE}


async def fetch(index: EmbeddedIndex, parameters: Mapping[str, Any]) -> dict[str, Any]:
    asked = read_parameters(parameters, Fetch)
    ids = [checked_id(id) for id in asked.ids]
    found = await likeness.with_vectors(index, namespace_of(asked.namespace), ids)
    return _fetched(index, asked.namespace, found)


async def fetch_by_metadata(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    asked = read(body, FetchWhere)
    namespace = namespace_of(asked.namespace)
    if not asked.filter:
        raise ValueError("the filter is empty; it needs a condition")
    checked_filter(index.schema, asked.filter)
    found, last = await page_where(
        index, namespace, asked.filter, asked.pagination_token, asked.limit
    )
    await index.read(lambda store: store.with_vectors(found))
    return {**_fetched(index, asked.namespace, found), **pagination(last)}


async def list_ids(index: EmbeddedIndex, parameters: Mapping[str, Any]) -> dict[str, Any]:
    asked = read_parameters(parameters, Listing)
    namespace, prefix = namespace_of(asked.namespace), checked_prefix(asked.prefix)
    after = read_token(asked.pagination_token)
    ids = await index.read(lambda store: store.ids(namespace, prefix, after, asked.limit + 1))
    page, last = page_of_ids(ids, asked.limit)
    return {
        "vectors": [{"id": id} for id in page],
        "namespace": asked.namespace or "",
        "usage": USAGE,
        **pagination(last),
    }


async def stats(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    asked = read(body or b"{}", Stats)
    counts = await index.read(lambda store: store.namespaces())
    if asked.filter:
        checked_filter(index.schema, asked.filter)
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
    dense = only(list(index.dense), "dense") if index.dense else ""
    sparse = only(list(index.sparse), "sparse") if index.sparse else ""
    values: dict[str, Any] = {"values": dense_list(document.vectors.get(dense, b""))}
    if raw := document.vectors.get(sparse):
        values["sparseValues"] = sparse_dict(raw)
    elif not values["values"]:  # the client asks for one of the two
        values["sparseValues"] = {"indices": [], "values": []}
    return values
