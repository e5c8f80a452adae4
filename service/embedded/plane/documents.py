"""The documents dialect: documents with fields of every kind, each searched in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from service.embedded.drafts import Draft
from service.embedded.index import EmbeddedIndex
from service.embedded.lexical import Words
from service.embedded.plane.paging import page_of_ids, page_of_numbers, pagination, read_token
from service.embedded.plane.records import chosen
from service.embedded.plane.values import (
    checked_id,
    dense_vector,
    draft_of,
    metric_of,
    namespace_of,
    raw_vectors,
    sparse_parts,
)
from service.embedded.plane.vectors import MAX_IDS, MAX_TOP_K
from service.embedded.ranking import Meaning, Nearness, Product, Ranking, Wording
from service.embedded.store import Document
from service.indexes.filters import check_filter, shown

MAX_DOCUMENTS, PAGE = 1_000, 100
SEVERAL = {"text", "query_string"}  # clauses that may stand together


class Clause(msgspec.Struct):
    """One way of scoring."""

    type: str
    query: str | None = None
    field: str | None = None
    fields: list[str] | None = None
    values: list[float] | None = None
    sparse_values: dict[str, Any] | None = None
    typos: bool = False  # ours: words of a `text` clause may be misspelled


class Search(msgspec.Struct):
    """The body of documents/search."""

    score_by: list[Clause]
    top_k: int
    include_fields: list[str] | None = None
    filter: dict[str, Any] | None = None


class Fetch(msgspec.Struct):
    """The body of documents/fetch."""

    ids: list[str] | None = None
    filter: dict[str, Any] | None = None
    include_fields: list[str] | None = None
    pagination_token: str | None = None
    limit: int | None = None


class Delete(msgspec.Struct):
    """The body of documents/delete."""

    ids: list[str] | None = None
    filter: dict[str, Any] | None = None
    delete_all: bool | None = None


class Update(msgspec.Struct):
    """The body of documents/update."""

    documents: list[dict[str, Any]] | None = None
    filter: dict[str, Any] | None = None
    set_fields: dict[str, Any] | None = None
    remove_fields: list[str] | None = None


class Listing(msgspec.Struct):
    """The body of documents/list."""

    prefix: str | None = None
    limit: int | None = None
    pagination_token: str | None = None


async def upsert(index: EmbeddedIndex, namespace: str, body: Any) -> dict[str, Any]:
    documents = msgspec.convert(body, dict[str, list[dict[str, Any]]]).get("documents") or []
    if not 1 <= len(documents) <= MAX_DOCUMENTS:
        raise ValueError(f"an upsert has 1 to {MAX_DOCUMENTS} documents")
    drafts = [draft_of(index, each) for each in documents]
    if len({draft.id for draft in drafts}) < len(drafts):
        raise ValueError("the ids of the documents in an upsert must differ")
    await index.put(namespace_of(namespace), drafts)
    return {"upserted_count": len(drafts)}


async def search(index: EmbeddedIndex, namespace: str, body: Any) -> dict[str, Any]:
    asked = msgspec.convert(body, Search)
    if not 1 <= asked.top_k <= MAX_TOP_K:
        raise ValueError(f"top_k is a number from 1 to {MAX_TOP_K}")
    if asked.filter is not None:
        check_filter(asked.filter)
    ranking = _ranking(index, asked.score_by)
    found = await index.search(namespace_of(namespace), ranking, asked.top_k, asked.filter)
    wanted = asked.include_fields or ()
    await _with_raw_vectors(index, [each for each, _ in found], wanted)
    matches = [
        {**_shown(index, each, wanted), "_id": each.id, "_score": score} for each, score in found
    ]
    return {"matches": matches, "namespace": namespace, "usage": {"read_units": 1}}


def _ranking(index: EmbeddedIndex, clauses: Sequence[Clause]) -> Ranking:
    if not clauses:
        raise ValueError("score_by needs a clause")
    if all(clause.type in SEVERAL for clause in clauses):
        return Wording([_words(index, clause) for clause in clauses])
    if len(clauses) > 1:
        raise ValueError("only text and query_string clauses may stand together in score_by")
    (clause,) = clauses
    fields = clause.fields if clause.fields is not None else [clause.field or ""]
    if len(fields) != 1:
        raise ValueError(f"a clause of type {clause.type} names one field")
    return _alone(index, clause, fields[0])


def _alone(index: EmbeddedIndex, clause: Clause, field: str) -> Ranking:
    schema = index.schema
    if clause.type == "embed":
        return Meaning(_known(field, schema.embedded, clause), _query(clause))
    if clause.type == "sparse_embed":  # here it is BM25 that stands in for a sparse model
        return Wording([Words(_query(clause), (_known(field, schema.worded, clause),))])
    if clause.type == "dense_vector":
        field = _known(field, list(index.dense), clause)
        vector = dense_vector(clause.values, index.dimensions[field], metric_of(schema, field))
        return Nearness(field, vector)
    if clause.type == "sparse_vector":
        indices, values = sparse_parts(clause.sparse_values)
        return Product(_known(field, schema.sparse, clause), indices, values)
    raise ValueError(
        f"{shown(clause.type)} is not a type of clause; there are "
        "dense_vector, sparse_vector, text, query_string, embed, sparse_embed"
    )


def _words(index: EmbeddedIndex, clause: Clause) -> Words:
    if clause.type == "query_string":
        return Words(_query(clause), (), syntax=True)
    fields = clause.fields or ([clause.field] if clause.field else [])
    if not fields:
        raise ValueError("a clause of type text names the fields that it looks in")
    known = tuple(_known(field, index.schema.worded, clause) for field in fields)
    return Words(_query(clause), known, typos=clause.typos)


def _known(field: str, known: Sequence[str], clause: Clause) -> str:
    if field not in known:
        names = ", ".join(known) or "none"
        raise ValueError(
            f"{shown(field)} can't be scored by {clause.type}; the fields for it: {names}"
        )
    return field


def _query(clause: Clause) -> str:
    if clause.query is None:
        raise ValueError(f"a clause of type {clause.type} needs a query")
    return clause.query


async def fetch(index: EmbeddedIndex, namespace: str, body: Any) -> dict[str, Any]:
    asked = msgspec.convert(body, Fetch)
    space = namespace_of(namespace)
    if bool(asked.ids) == (asked.filter is not None):
        raise ValueError("documents are fetched by ids or by filter: just one of them")
    last = None
    if asked.filter is not None:
        check_filter(asked.filter)
        docnos = await index.find(space, asked.filter)
        limit = asked.limit or PAGE
        if not 1 <= limit <= MAX_TOP_K:
            raise ValueError(f"limit is a number from 1 to {MAX_TOP_K}")
        page, last = page_of_numbers(docnos, asked.pagination_token, limit)
        found = list((await index.read(lambda store: store.documents(page))).values())
    else:
        ids = _checked_ids(asked.ids or [])
        found = await index.read(lambda store: store.by_id(space, ids))
    wanted = asked.include_fields if asked.include_fields is not None else ["*"]
    await _with_raw_vectors(index, found, wanted)
    return {
        "documents": {each.id: {**_shown(index, each, wanted), "_id": each.id} for each in found},
        "namespace": namespace,
        "usage": {"read_units": 1},
        **pagination(last),
    }


async def delete(index: EmbeddedIndex, namespace: str, body: Any) -> dict[str, Any]:
    asked = msgspec.convert(body, Delete)
    space = namespace_of(namespace)
    if (bool(asked.ids)) + bool(asked.delete_all) + (asked.filter is not None) != 1:
        raise ValueError("a delete is by ids, by filter or of all: just one of them")
    if asked.delete_all:
        return {"matched_records": await index.clear(space)}
    if asked.filter is not None:
        if not asked.filter:
            raise ValueError("a delete by filter needs a condition")
        check_filter(asked.filter)
        return {"matched_records": await index.remove_where(space, asked.filter)}
    return {"matched_records": await index.remove(space, _checked_ids(asked.ids or []))}


async def update(index: EmbeddedIndex, namespace: str, body: Any) -> dict[str, Any]:
    asked = msgspec.convert(body, Update)
    space = namespace_of(namespace)
    if (asked.documents is None) == (asked.filter is None):
        raise ValueError("documents are updated each by its id, or all by a filter")
    patches = {checked_id(each.get("_id")): each for each in asked.documents or []}
    if asked.filter is not None:
        check_filter(asked.filter)
        docnos = list(await index.find(space, asked.filter))
        found = await index.read(lambda store: store.documents(docnos))
        patch = {**(asked.set_fields or {}), "_remove_fields": asked.remove_fields or []}
        patches = {each.id: patch for each in found.values()}
    changed = await index.change(
        space, list(patches), lambda document: _patched(index, document, patches[document.id])
    )
    return {"matched_records": changed}


def _patched(index: EmbeddedIndex, document: Document, patch: Mapping[str, Any]) -> Draft:
    schema = index.schema
    removed = set(patch.get("_remove_fields") or ())
    fresh = {name: value for name, value in patch.items() if name not in ("_id", "_remove_fields")}
    whole = {**document.fields, **raw_vectors(schema, document), **fresh}
    left = {name: value for name, value in whole.items() if name not in removed}
    draft = draft_of(index, {"_id": document.id, **left})
    kept = {
        name: document.vectors[name]
        for name in schema.embedded
        if name in document.vectors and name in left and name not in fresh
    }
    return Draft(draft.id, draft.fields, {**draft.vectors, **kept})


async def list_ids(index: EmbeddedIndex, namespace: str, body: Any) -> dict[str, Any]:
    asked = msgspec.convert(body, Listing)
    space = namespace_of(namespace)
    limit = asked.limit or PAGE
    if not 1 <= limit <= PAGE:
        raise ValueError(f"limit is a number from 1 to {PAGE}")
    after = read_token(asked.pagination_token)
    ids = await index.read(lambda store: store.ids(space, asked.prefix or "", after, limit + 1))
    page, last = page_of_ids(ids, limit)
    return {
        "documents": [{"_id": id} for id in page],
        "namespace": namespace,
        "usage": {"read_units": 1},
        **pagination(last),
    }


async def _with_raw_vectors(
    index: EmbeddedIndex, documents: Sequence[Document], wanted: Sequence[str]
) -> None:
    brought = {*index.schema.dense, *index.schema.sparse}
    if brought and ("*" in wanted or not brought.isdisjoint(wanted)):
        await index.read(lambda store: store.with_vectors(documents))


def _shown(index: EmbeddedIndex, document: Document, wanted: Sequence[str]) -> dict[str, Any]:
    vectors = raw_vectors(index.schema, document)
    names = vectors if "*" in wanted else vectors.keys() & set(wanted)
    return {**chosen(document, wanted), **{name: vectors[name] for name in names}}


def _checked_ids(ids: Sequence[str]) -> list[str]:
    if not 1 <= len(ids) <= MAX_IDS:
        raise ValueError(f"there are 1 to {MAX_IDS} ids in a request")
    return [checked_id(id) for id in ids]
