"""Writing in the vectors dialect: vectors with metadata are replaced, changed and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.embedded.filters.validation import check_selector
from service.embedded.index import EmbeddedIndex
from service.embedded.pending_documents import PendingDocument
from service.embedded.pinecone_api.bodies import MAX_WRITTEN, Filter, Ids, read
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


async def upsert(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    """Of several vectors with one id the last one stays."""
    asked = read(body, Upsert)
    documents = [_parse_item(index, each) for each in asked.vectors]
    await index.upsert(check_namespace(asked.namespace), documents)
    return {"upsertedCount": len(documents)}


def _parse_item(index: EmbeddedIndex, item: Item) -> PendingDocument:
    id = check_id(item.id)
    whose = f"vector {id!r}"
    metadata = drop_nulls(item.metadata or {})
    check_fields(index.schema, metadata, whose)
    vectors = _vectors(index, item.values, item.sparse_values, whose)
    if not vectors:
        raise ValueError(f"{whose} has neither values nor sparse values")
    return PendingDocument(id, metadata, vectors)


def _vectors(
    index: EmbeddedIndex, values: list[float] | None, sparse: Mapping[str, Any] | None, whose: str
) -> dict[str, bytes]:
    vectors: dict[str, bytes] = {}
    if values:
        field = only_field(list(index.dense), "dense")
        dimension = index.dimensions[field]
        vectors[field] = encode_dense(values, index.schema, field, dimension, whose)
    if sparse is not None:
        field = only_field(list(index.sparse), "sparse")
        vectors[field] = encode_sparse(sparse, field, whose)
    return vectors


async def update(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    asked = read(body, Update)
    namespace = check_namespace(asked.namespace)
    if (asked.id is None) == (asked.filter is None):
        raise ValueError("an update is by id or by filter: just one of them")
    vectors = _vectors(index, asked.values, asked.sparse_values, "the update")
    fresh = drop_nulls(asked.set_metadata or {})
    check_fields(index.schema, fresh, "the update")

    def changed(document: Document) -> PendingDocument:
        fields = {**document.fields, **fresh}
        check_fields(index.schema, fields, f"vector {document.id!r}")
        kept = {
            name: raw
            for name, raw in document.vectors.items()
            if name not in fresh  # a text that changes is embedded anew
        }
        return PendingDocument(document.id, fields, {**kept, **vectors})

    if asked.filter is None:
        await index.update(namespace, [check_id(asked.id)], changed)
        return {}
    if vectors:
        raise ValueError("an update by filter changes metadata only")
    check_selector(index.schema, asked.filter)
    if asked.dry_run:
        return {"matchedRecords": await index.count(namespace, asked.filter)}
    return {"matchedRecords": await update_where(index, namespace, asked.filter, changed)}


async def delete(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    asked = read(body, Delete)
    namespace = check_namespace(asked.namespace)
    if (asked.ids is not None) + asked.delete_all + (asked.filter is not None) != 1:
        raise ValueError("a delete is by ids, by filter or of all: just one of them")
    if asked.delete_all:
        await index.clear_namespace(namespace)
    elif asked.filter is not None:
        check_selector(index.schema, asked.filter)
        await index.delete_where(namespace, asked.filter)
    else:
        await index.delete(namespace, [check_id(id) for id in asked.ids or []])
    return {}
