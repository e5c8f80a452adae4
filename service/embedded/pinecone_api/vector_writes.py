"""Writes in the vectors dialect: upsert, update and delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.embedded.filters.validation import check_selector
from service.embedded.index import EmbeddedIndex
from service.embedded.pending_documents import PendingDocument
from service.embedded.pinecone_api.bodies import Filter, Ids, read
from service.embedded.pinecone_api.validation import (
    check_fields,
    check_id,
    check_namespace,
    drop_nulls,
    encode_dense,
    encode_sparse,
    only_field,
)
from service.embedded.selection import update_where
from service.embedded.storage.store import Document
from service.indexes.limits import MAX_DOCUMENTS


class Item(msgspec.Struct, rename="camel"):
    """A vector with its metadata."""

    id: str
    values: list[float] | None = None
    sparse_values: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class Upsert(msgspec.Struct):
    """The body of /vectors/upsert."""

    vectors: Annotated[list[Item], Meta(min_length=1, max_length=MAX_DOCUMENTS)]
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


async def upsert(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    """Write vectors; of several with one id the last one wins."""
    request = read(body, Upsert)
    documents = [_parse_item(index, each) for each in request.vectors]
    await index.upsert(check_namespace(request.namespace), documents)
    return {"upsertedCount": len(documents)}


def _parse_item(index: EmbeddedIndex, item: Item) -> PendingDocument:
    id = check_id(item.id)
    label = f"vector {id!r}"
    metadata = drop_nulls(item.metadata or {})
    check_fields(index.schema, metadata, label)
    vectors = _vectors(index, item.values, item.sparse_values, label)
    if not vectors:
        raise ValueError(f"{label} has neither values nor sparse values")
    return PendingDocument(id, metadata, vectors)


def _vectors(
    index: EmbeddedIndex, values: list[float] | None, sparse: Mapping[str, Any] | None, label: str
) -> dict[str, bytes]:
    vectors: dict[str, bytes] = {}
    if values:
        field = only_field(list(index.views.dense), "dense")
        dimension = index.dimensions[field]
        vectors[field] = encode_dense(values, index.schema, field, dimension, label)
    if sparse is not None:
        field = only_field(list(index.views.sparse), "sparse")
        vectors[field] = encode_sparse(sparse, field, label)
    return vectors


async def update(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    request = read(body, Update)
    namespace = check_namespace(request.namespace)
    if (request.id is None) == (request.filter is None):
        raise ValueError("give either an id or a filter to update")
    vectors = _vectors(index, request.values, request.sparse_values, "the update")
    fresh = drop_nulls(request.set_metadata or {})
    check_fields(index.schema, fresh, "the update")

    def changed(document: Document) -> PendingDocument:
        fields = {**document.fields, **fresh}
        check_fields(index.schema, fields, f"vector {document.id!r}")
        kept = {
            name: raw
            for name, raw in document.vectors.items()
            if name not in fresh  # a changed text is embedded again
        }
        return PendingDocument(document.id, fields, {**kept, **vectors})

    if request.filter is None:
        await index.update(namespace, [check_id(request.id)], changed)
        return {}
    if vectors:
        raise ValueError("an update by filter can set metadata only")
    check_selector(index.schema, request.filter)
    if request.dry_run:
        return {"matchedRecords": await index.count(namespace, request.filter)}
    return {"matchedRecords": await update_where(index, namespace, request.filter, changed)}


async def delete(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    request = read(body, Delete)
    namespace = check_namespace(request.namespace)
    if (request.ids is not None) + request.delete_all + (request.filter is not None) != 1:
        raise ValueError("give exactly one of ids, filter and deleteAll to delete")
    if request.delete_all:
        await index.clear_namespace(namespace)
    elif request.filter is not None:
        check_selector(index.schema, request.filter)
        await index.delete_where(namespace, request.filter)
    else:
        await index.delete(namespace, [check_id(id) for id in request.ids or []])
    return {}
