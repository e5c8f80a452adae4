"""Reading in the documents dialect: fields of every kind, each searched in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.embedded.filters.validation import check_filter_fields
from service.embedded.index import EmbeddedIndex
from service.embedded.paging import cut_page, decode_token, pagination
from service.embedded.pinecone_api import similarity
from service.embedded.pinecone_api.bodies import PAGE, Filter, Ids, Limit, PageSize, TopK, read
from service.embedded.pinecone_api.clauses import AnyClause, parse_score_by
from service.embedded.pinecone_api.validation import (
    check_id,
    check_namespace,
    check_prefix,
    raw_vectors,
    select_fields,
)
from service.embedded.selection import page_where
from service.embedded.storage.store import Document

MAX_CLAUSES = 100
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
    asked = read(body, Search)
    check_filter_fields(index.schema, asked.filter)
    ranking = parse_score_by(index, asked.score_by)
    space = check_namespace(namespace)
    found = await similarity.search(index, space, [ranking], asked.top_k, asked.filter)
    wanted = asked.include_fields or ()
    await _with_raw_vectors(index, [each for each, _ in found], wanted)
    matches = [
        {**_shown(index, each, wanted), "_id": each.id, "_score": score} for each, score in found
    ]
    return {"matches": matches, "namespace": namespace, "usage": USAGE}


async def fetch(index: EmbeddedIndex, namespace: str, body: bytes) -> dict[str, Any]:
    asked = read(body, Fetch)
    space = check_namespace(namespace)
    if (asked.ids is None) == (asked.filter is None):
        raise ValueError("documents are fetched by ids or by filter: just one of them")
    last = None
    if asked.filter is not None:
        if not asked.filter:
            raise ValueError("the filter is empty; it needs a condition")
        check_filter_fields(index.schema, asked.filter)
        found, last = await page_where(
            index, space, asked.filter, decode_token(asked.pagination_token), asked.limit or PAGE
        )
    elif asked.pagination_token is not None:
        raise ValueError("a pagination token goes with a filter only")
    else:
        ids = list(dict.fromkeys(check_id(id) for id in asked.ids or []))
        by_id = {
            each.id: each for each in await index.read(lambda s: s.documents_by_id(space, ids))
        }
        found = [by_id[id] for id in ids if id in by_id]
    wanted = asked.include_fields or ["*"]
    await _with_raw_vectors(index, found, wanted)
    return {
        "documents": {each.id: {**_shown(index, each, wanted), "_id": each.id} for each in found},
        "namespace": namespace,
        "usage": USAGE,
        **pagination(last),
    }


async def list_ids(index: EmbeddedIndex, namespace: str, body: bytes) -> dict[str, Any]:
    asked = read(body, Listing)
    space, prefix = check_namespace(namespace), check_prefix(asked.prefix)
    limit, after = asked.limit or PAGE, decode_token(asked.pagination_token)
    ids = await index.read(lambda store: store.list_ids(space, prefix, after, limit + 1))
    page, last = cut_page(ids, limit)
    return {
        "documents": [{"_id": id} for id in page],
        "namespace": namespace,
        "usage": USAGE,
        **pagination(last),
    }


async def _with_raw_vectors(
    index: EmbeddedIndex, documents: Sequence[Document], wanted: Sequence[str]
) -> None:
    brought = {*index.schema.dense_fields, *index.schema.sparse_fields}
    if brought and ("*" in wanted or not brought.isdisjoint(wanted)):
        await index.read(lambda store: store.load_vectors(documents))


def _shown(index: EmbeddedIndex, document: Document, wanted: Sequence[str]) -> Mapping[str, Any]:
    fields = select_fields(document.fields, wanted)
    if not document.vectors:
        return fields
    return {**fields, **select_fields(raw_vectors(index.schema, document), wanted)}
