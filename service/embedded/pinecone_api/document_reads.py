"""Reads in the documents dialect: search, fetch and list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.embedded.filters.validation import check_filter_fields
from service.embedded.index import EmbeddedIndex
from service.embedded.pinecone_api import similarity
from service.embedded.pinecone_api.bodies import (
    Filter,
    Ids,
    Limit,
    PageSize,
    TopK,
    pagination,
    read,
)
from service.embedded.pinecone_api.clauses import AnyClause, parse_score_by
from service.embedded.pinecone_api.validation import (
    check_id,
    check_namespace,
    check_prefix,
    raw_vectors,
    select_fields,
)
from service.embedded.selection import page_of_ids, page_where
from service.embedded.storage.store import Document
from service.indexes.limits import MAX_CLAUSES, MAX_PAGE

USAGE = {"read_units": 1}


class Search(msgspec.Struct):
    """The body of documents/search."""

    score_by: Annotated[list[AnyClause], Meta(min_length=1, max_length=MAX_CLAUSES)]
    top_k: TopK
    include_fields: list[str] | None = None
    filter: Filter | None = None


class Fetch(msgspec.Struct):
    """The body of documents/fetch."""

    ids: Ids | None = None
    filter: Filter | None = None
    include_fields: list[str] | None = None
    pagination_token: str | None = None
    limit: Limit | None = None


class Listing(msgspec.Struct):
    """The body of documents/list."""

    prefix: str | None = None
    limit: PageSize | None = None
    pagination_token: str | None = None


async def search(index: EmbeddedIndex, namespace: str, body: bytes) -> dict[str, Any]:
    request = read(body, Search)
    check_filter_fields(index.schema, request.filter)
    query = parse_score_by(index, request.score_by)
    space = check_namespace(namespace)
    found = await similarity.search(index, space, [query], request.top_k, request.filter)
    names = request.include_fields or ()
    await _load_vectors(index, [each for each, _ in found], names)
    matches = [
        {**_document_body(index, each, names), "_id": each.id, "_score": score}
        for each, score in found
    ]
    return {"matches": matches, "namespace": namespace, "usage": USAGE}


async def fetch(index: EmbeddedIndex, namespace: str, body: bytes) -> dict[str, Any]:
    request = read(body, Fetch)
    space = check_namespace(namespace)
    if (request.ids is None) == (request.filter is None):
        raise ValueError("give either ids or a filter to fetch documents")
    following = None
    if request.filter is not None:
        if not request.filter:
            raise ValueError("the filter is empty; give it a condition")
        check_filter_fields(index.schema, request.filter)
        limit = request.limit or MAX_PAGE
        found, following = await page_where(
            index, space, request.filter, request.pagination_token, limit
        )
    elif request.pagination_token is not None:
        raise ValueError("a pagination token is valid with a filter only")
    else:
        ids = list(dict.fromkeys(check_id(id) for id in request.ids or []))
        by_id = {
            each.id: each for each in await index.read(lambda s: s.documents_by_id(space, ids))
        }
        found = [by_id[id] for id in ids if id in by_id]
    names = request.include_fields or ["*"]
    await _load_vectors(index, found, names)
    return {
        "documents": {
            each.id: {**_document_body(index, each, names), "_id": each.id} for each in found
        },
        "namespace": namespace,
        "usage": USAGE,
        **pagination(following),
    }


async def list_ids(index: EmbeddedIndex, namespace: str, body: bytes) -> dict[str, Any]:
    request = read(body, Listing)
    space, prefix = check_namespace(namespace), check_prefix(request.prefix)
    limit = request.limit or MAX_PAGE
    page, following = await page_of_ids(index, space, prefix, request.pagination_token, limit)
    return {
        "documents": [{"_id": id} for id in page],
        "namespace": namespace,
        "usage": USAGE,
        **pagination(following),
    }


async def _load_vectors(
    index: EmbeddedIndex, documents: Sequence[Document], names: Sequence[str]
) -> None:
    vector_fields = {*index.schema.dense_fields, *index.schema.sparse_fields}
    if vector_fields and ("*" in names or not vector_fields.isdisjoint(names)):
        await index.read(lambda store: store.load_vectors(documents))


def _document_body(
    index: EmbeddedIndex, document: Document, names: Sequence[str]
) -> Mapping[str, Any]:
    fields = select_fields(document.fields, names)
    if not document.vectors:
        return fields
    return {**fields, **select_fields(raw_vectors(index.schema, document), names)}
