"""Writes in the documents dialect: upsert, update and delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.embedded.filters.validation import check_selector
from service.embedded.index import EmbeddedIndex
from service.embedded.pending_documents import PendingDocument
from service.embedded.pinecone_api.bodies import Filter, Ids, read
from service.embedded.pinecone_api.document_parsing import parse_document
from service.embedded.pinecone_api.validation import check_id, check_namespace, raw_vectors
from service.embedded.selection import update_where
from service.embedded.storage.store import Document
from service.indexes.filters import shown
from service.indexes.limits import MAX_DOCUMENTS

Written = Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MAX_DOCUMENTS)]


class Upsert(msgspec.Struct):
    """The body of documents/upsert."""

    documents: Written


class Update(msgspec.Struct):
    """The body of documents/update."""

    documents: Written | None = None
    filter: Filter | None = None
    set_fields: dict[str, Any] | None = None
    remove_fields: list[str] | None = None


class Delete(msgspec.Struct):
    """The body of documents/delete."""

    ids: Ids | None = None
    filter: Filter | None = None
    delete_all: bool | None = None


class Patch(msgspec.Struct):
    """The fields of a document to set and to remove."""

    fields: dict[str, Any]
    removed: list[str] = []


async def upsert(index: EmbeddedIndex, namespace: str, body: bytes) -> dict[str, Any]:
    documents = [
        parse_document(index, each.pop("_id", None), each) for each in read(body, Upsert).documents
    ]
    _check_unique([document.id for document in documents])
    await index.upsert(check_namespace(namespace), documents)
    return {"upserted_count": len(documents)}


async def update(index: EmbeddedIndex, namespace: str, body: bytes) -> dict[str, Any]:
    request = read(body, Update)
    space = check_namespace(namespace)
    if request.documents is not None:
        if request.filter is not None or request.set_fields or request.remove_fields:
            raise ValueError("give either documents or a filter to update")
        ids = [check_id(each.pop("_id", None)) for each in request.documents]
        _check_unique(ids)
        patches = dict(zip(ids, map(_patch_of, request.documents), strict=True))
        await index.update(space, ids, lambda each: _patched(index, each, patches[each.id]))
        return {}
    if request.filter is None:
        raise ValueError("give either documents or a filter to update")
    check_selector(index.schema, request.filter)
    patch = _checked(Patch(request.set_fields or {}, request.remove_fields or []))
    if not patch.fields and not patch.removed:
        raise ValueError("an update by filter needs set_fields, remove_fields or both")
    matched = await update_where(
        index, space, request.filter, lambda each: _patched(index, each, patch)
    )
    return {"matched_records": matched}


def _patch_of(given: dict[str, Any]) -> Patch:
    removed = given.pop("_remove_fields", None)
    if removed is None:
        removed = []
    if not isinstance(removed, list) or not all(isinstance(name, str) for name in removed):
        raise ValueError("_remove_fields must be a list of field names")
    return _checked(Patch(given, removed))


def _checked(patch: Patch) -> Patch:
    if "_id" in patch.fields or "_id" in patch.removed:
        raise ValueError("the _id of a document can't be changed")
    if both := patch.fields.keys() & set(patch.removed):
        raise ValueError(f"the field {shown(min(both))} can't be set and removed at once")
    return patch


def _patched(index: EmbeddedIndex, document: Document, patch: Patch) -> PendingDocument:
    schema = index.schema
    merged = {**document.fields, **raw_vectors(schema, document), **patch.fields}
    remaining = {name: value for name, value in merged.items() if name not in patch.removed}
    kept = {
        name: document.vectors[name]
        for name in schema.semantic_fields
        if name in document.vectors and name in remaining and name not in patch.fields
    }
    return parse_document(index, document.id, remaining, kept)


async def delete(index: EmbeddedIndex, namespace: str, body: bytes) -> dict[str, Any]:
    request = read(body, Delete)
    space = check_namespace(namespace)
    if (request.ids is not None) + bool(request.delete_all) + (request.filter is not None) != 1:
        raise ValueError("give exactly one of ids, filter and delete_all to delete")
    if request.filter is not None:
        check_selector(index.schema, request.filter)
        return {"matched_records": await index.delete_where(space, request.filter)}
    if request.delete_all:
        await index.clear_namespace(space)
    else:
        await index.delete(space, [check_id(id) for id in request.ids or []])
    return {}


def _check_unique(ids: Sequence[str]) -> None:
    if len(set(ids)) < len(ids):
        twice = next(id for at, id in enumerate(ids) if id in ids[:at])
        raise ValueError(f"the id {shown(twice)} is given twice")
