"""The vectors dialect: vectors with metadata, by id, by likeness and by filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from service.embedded.drafts import Draft
from service.embedded.index import EmbeddedIndex
from service.embedded.plane.hybrid import search_both
from service.embedded.plane.paging import page_of_ids, page_of_numbers, pagination, read_token
from service.embedded.plane.values import (
    checked_fields,
    checked_id,
    dense_list,
    dense_vector,
    metric_of,
    namespace_of,
    only,
    sparse_dict,
    sparse_parts,
    sparse_vector,
)
from service.embedded.ranking import Nearness, Product, Ranking
from service.embedded.store import Document
from service.indexes.filters import check_filter

MAX_TOP_K, MAX_VECTORS, MAX_IDS, PAGE = 10_000, 1_000, 1_000, 100
USAGE = {"readUnits": 1}


class Query(msgspec.Struct, rename="camel"):
    """The body of /query."""

    top_k: int
    namespace: str | None = None
    vector: list[float] | None = None
    id: str | None = None
    sparse_vector: dict[str, Any] | None = None
    filter: dict[str, Any] | None = None
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

    vectors: list[Item]
    namespace: str | None = None


class Update(msgspec.Struct, rename="camel"):
    """The body of /vectors/update."""

    id: str | None = None
    values: list[float] | None = None
    sparse_values: dict[str, Any] | None = None
    set_metadata: dict[str, Any] | None = None
    filter: dict[str, Any] | None = None
    dry_run: bool = False
    namespace: str | None = None


class Delete(msgspec.Struct, rename="camel"):
    """The body of /vectors/delete."""

    ids: list[str] | None = None
    delete_all: bool = False
    filter: dict[str, Any] | None = None
    namespace: str | None = None


class FetchWhere(msgspec.Struct, rename="camel"):
    """The body of /vectors/fetch_by_metadata."""

    filter: dict[str, Any]
    namespace: str | None = None
    limit: int = PAGE
    pagination_token: str | None = None


async def query(index: EmbeddedIndex, body: Any) -> dict[str, Any]:
    asked = msgspec.convert(body, Query)
    namespace = namespace_of(asked.namespace)
    if not 1 <= asked.top_k <= MAX_TOP_K:
        raise ValueError(f"topK is a number from 1 to {MAX_TOP_K}")
    _check(asked.filter)
    rankings = await _rankings(index, namespace, asked)
    found: list[tuple[Document, float]] = []
    if len(rankings) > 1:
        found = await search_both(index, namespace, rankings, asked.top_k, asked.filter)
    elif rankings:
        found = await index.search(namespace, rankings[0], asked.top_k, asked.filter)
    if asked.include_values:
        await index.read(lambda store: store.with_vectors([each for each, _ in found]))
    matches = []
    for document, score in found:
        values = _values(index, document) if asked.include_values else {"values": []}
        metadata = {"metadata": document.fields} if asked.include_metadata else {}
        matches.append({"id": document.id, "score": score, **values, **metadata})
    return {"matches": matches, "namespace": asked.namespace or "", "usage": USAGE}


async def _rankings(index: EmbeddedIndex, namespace: str, asked: Query) -> list[Ranking]:
    """By a vector, by a sparse one, by both, or by those of a record."""
    if asked.id is not None:
        if asked.vector is not None or asked.sparse_vector is not None:
            raise ValueError("a query is by vector or by id, not by both")
        return await by_record(index, namespace, asked.id)
    rankings: list[Ranking] = []
    if asked.vector:
        field = only(list(index.dense), "dense")
        rankings.append(Nearness(field, _dense(index, field, asked.vector)))
    if asked.sparse_vector is not None:
        indices, values = sparse_parts(asked.sparse_vector)
        rankings.append(Product(only(list(index.sparse), "sparse"), indices, values))
    if not rankings:
        raise ValueError("a query needs a vector, a sparse vector or an id")
    return rankings


async def by_record(index: EmbeddedIndex, namespace: str, id: str) -> list[Ranking]:
    """What is like a record; nothing, if there is no such record."""
    rankings: list[Ranking] = []
    vectors = {
        field: raw
        for document in await _read(index, namespace, [checked_id(id)])
        for field, raw in document.vectors.items()
    }
    for field, raw in vectors.items():
        if field in index.dense:
            rankings.append(Nearness(field, np.frombuffer(raw, dtype=np.float32)))
        else:
            rankings.append(Product(field, **sparse_dict(raw)))
    return rankings


async def upsert(index: EmbeddedIndex, body: Any) -> dict[str, Any]:
    asked = msgspec.convert(body, Upsert)
    namespace = namespace_of(asked.namespace)
    if not 1 <= len(asked.vectors) <= MAX_VECTORS:
        raise ValueError(f"an upsert has 1 to {MAX_VECTORS} vectors")
    await index.put(namespace, [_draft(index, each) for each in asked.vectors])
    return {"upsertedCount": len(asked.vectors)}


def _draft(index: EmbeddedIndex, item: Item) -> Draft:
    id = checked_id(item.id)
    metadata = item.metadata or {}
    checked_fields(id, metadata, index.schema.texts)
    vectors = _vectors(index, item.values, item.sparse_values)
    if not vectors:
        raise ValueError(f"the vector {id!r} has neither values nor sparse values")
    return Draft(id, metadata, vectors)


def _vectors(
    index: EmbeddedIndex, values: Sequence[float] | None, sparse: Mapping[str, Any] | None
) -> dict[str, bytes]:
    vectors: dict[str, bytes] = {}
    if values:
        field = only(list(index.dense), "dense")
        vectors[field] = _dense(index, field, values).tobytes()
    if sparse is not None:
        vectors[only(list(index.sparse), "sparse")] = sparse_vector(sparse)
    return vectors


def _dense(index: EmbeddedIndex, field: str, values: Sequence[float]) -> Any:
    return dense_vector(values, index.dimensions[field], metric_of(index.schema, field))


async def update(index: EmbeddedIndex, body: Any) -> dict[str, Any]:
    asked = msgspec.convert(body, Update)
    namespace = namespace_of(asked.namespace)
    if (asked.id is None) == (asked.filter is None):
        raise ValueError("an update is by id or by filter")
    vectors = _vectors(index, asked.values, asked.sparse_values)
    if asked.filter is not None and vectors:
        raise ValueError("an update by filter changes metadata only")
    fresh = asked.set_metadata or {}
    checked_fields(asked.id or "", fresh, index.schema.texts)
    ids = [checked_id(asked.id)] if asked.id is not None else []
    if asked.filter is not None:
        ids = await _ids_where(index, namespace, asked.filter)
    if asked.dry_run:
        return {"matchedRecords": len(ids)}

    def changed(document: Document) -> Draft:
        fields = {**document.fields, **fresh}
        checked_fields(document.id, fields, index.schema.texts)
        kept = {
            name: raw
            for name, raw in document.vectors.items()
            if name not in fresh  # a text that changes is embedded anew
        }
        return Draft(document.id, fields, {**kept, **vectors})

    return {"matchedRecords": await index.change(namespace, ids, changed)}


async def _ids_where(index: EmbeddedIndex, namespace: str, filter: Mapping[str, Any]) -> list[str]:
    _check(filter)
    docnos = list(await index.find(namespace, filter))
    found = await index.read(lambda store: store.documents(docnos))
    return [each.id for each in found.values()]


async def delete(index: EmbeddedIndex, body: Any) -> dict[str, Any]:
    asked = msgspec.convert(body, Delete)
    namespace = namespace_of(asked.namespace)
    if (asked.ids is not None) + asked.delete_all + (asked.filter is not None) != 1:
        raise ValueError("a delete is by ids, by filter or of all: just one of them")
    if asked.delete_all:
        await index.clear(namespace)
    elif asked.filter is not None:
        _check(asked.filter)
        if not asked.filter:
            raise ValueError("a delete by filter needs a condition")
        await index.remove_where(namespace, asked.filter)
    else:
        await index.remove(namespace, _checked_ids(asked.ids or []))
    return {}


async def fetch(index: EmbeddedIndex, params: Mapping[str, Any]) -> dict[str, Any]:
    namespace = namespace_of(params.get("namespace"))
    found = await _read(index, namespace, _checked_ids(params.get("ids") or []))
    return {
        "vectors": {each.id: _whole(index, each) for each in found},
        "namespace": params.get("namespace") or "",
        "usage": USAGE,
    }


async def fetch_by_metadata(index: EmbeddedIndex, body: Any) -> dict[str, Any]:
    asked = msgspec.convert(body, FetchWhere)
    namespace = namespace_of(asked.namespace)
    _check(asked.filter)
    if not 1 <= asked.limit <= MAX_TOP_K:
        raise ValueError(f"limit is a number from 1 to {MAX_TOP_K}")
    docnos = await index.find(namespace, asked.filter)
    page, last = page_of_numbers(docnos, asked.pagination_token, asked.limit)
    found = list((await index.read(lambda store: store.documents(page))).values())
    await index.read(lambda store: store.with_vectors(found))
    return {
        "vectors": {each.id: _whole(index, each) for each in found},
        "namespace": asked.namespace or "",
        "usage": USAGE,
        **pagination(last),
    }


async def list_ids(index: EmbeddedIndex, params: Mapping[str, Any]) -> dict[str, Any]:
    namespace = namespace_of(params.get("namespace"))
    limit = int(params.get("limit") or PAGE)
    if not 1 <= limit <= PAGE:
        raise ValueError(f"limit is a number from 1 to {PAGE}")
    prefix = str(params.get("prefix") or "")
    after = read_token(params.get("paginationToken"))
    ids = await index.read(lambda store: store.ids(namespace, prefix, after, limit + 1))
    page, last = page_of_ids(ids, limit)
    return {
        "vectors": [{"id": id} for id in page],
        "namespace": params.get("namespace") or "",
        "usage": USAGE,
        **pagination(last),
    }


async def stats(index: EmbeddedIndex, body: Any) -> dict[str, Any]:
    counts = index.namespaces()
    if filter := (body or {}).get("filter"):
        _check(filter)
        counts = {name: await index.count(name, filter) for name in counts}
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


async def _read(index: EmbeddedIndex, namespace: str, ids: Sequence[str]) -> list[Document]:
    """The records with these ids, in the order in which they were asked for."""

    def read() -> list[Document]:
        found = index.store.by_id(namespace, ids)
        index.store.with_vectors(found)
        return found

    by_id = {each.id: each for each in await index.read(lambda _: read())}
    return [by_id[id] for id in dict.fromkeys(ids) if id in by_id]


def _whole(index: EmbeddedIndex, document: Document) -> dict[str, Any]:
    return {"id": document.id, "metadata": document.fields, **_values(index, document)}


def _values(index: EmbeddedIndex, document: Document) -> dict[str, Any]:
    dense = [raw for name, raw in document.vectors.items() if name in index.dense]
    sparse = [raw for name, raw in document.vectors.items() if name in index.sparse]
    if not dense and not sparse:  # the client asks for one of the two
        return {"values": [], "sparseValues": {"indices": [], "values": []}}
    values: dict[str, Any] = {"values": dense_list(dense[0]) if dense else []}
    if sparse:
        values["sparseValues"] = sparse_dict(sparse[0])
    return values


def _checked_ids(ids: Sequence[str]) -> list[str]:
    if not 1 <= len(ids) <= MAX_IDS:
        raise ValueError(f"there are 1 to {MAX_IDS} ids in a request")
    return [checked_id(id) for id in ids]


def _check(filter: Mapping[str, Any] | None) -> None:
    if filter is not None:
        check_filter(filter)
