"""The records dialect: texts in, records out. The index embeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from service.embedded.index import EmbeddedIndex
from service.embedded.lexical import Words
from service.embedded.plane.values import (
    dense_vector,
    draft_of,
    metric_of,
    namespace_of,
    only,
    sparse_parts,
)
from service.embedded.plane.vectors import MAX_TOP_K, by_record
from service.embedded.ranking import Meaning, Nearness, Product, Ranking, Wording
from service.embedded.store import Document
from service.indexes.filters import check_filter

MAX_RECORDS = 96


class MatchTerms(msgspec.Struct):
    """Words that every hit must have."""

    terms: list[str]
    strategy: str = "all"


class Query(msgspec.Struct):
    """What is searched for."""

    top_k: int
    inputs: dict[str, Any] | None = None
    vector: dict[str, Any] | None = None
    id: str | None = None
    filter: dict[str, Any] | None = None
    match_terms: MatchTerms | None = None


class Search(msgspec.Struct):
    """The body of /records/namespaces/{namespace}/search."""

    query: Query
    fields: list[str] | None = None
    rerank: dict[str, Any] | None = None


async def upsert(index: EmbeddedIndex, namespace: str, content: bytes) -> dict[str, Any]:
    """NDJSON: a record in each line."""
    records = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as exc:
            raise ValueError(f"line {number} is not valid JSON: {exc}") from None
        if not isinstance(record, dict):
            raise ValueError(f"line {number} is not a JSON object")  # noqa: TRY004
        id = record.pop("id", None)
        records.append({"_id": id, **record})
    if not 1 <= len(records) <= MAX_RECORDS:
        raise ValueError(f"an upsert has 1 to {MAX_RECORDS} records")
    await index.put(namespace_of(namespace), [draft_of(index, each) for each in records])
    return {}


async def search(index: EmbeddedIndex, namespace: str, body: Any) -> dict[str, Any]:
    asked = msgspec.convert(body, Search)
    query = asked.query
    if not 1 <= query.top_k <= MAX_TOP_K:
        raise ValueError(f"top_k is a number from 1 to {MAX_TOP_K}")
    if asked.rerank is not None:
        raise ValueError("this index does not rerank inside of a search")
    filter = query.filter or {}
    check_filter(filter)
    space = namespace_of(namespace)
    ranking = await _ranking(index, space, query)
    if query.match_terms is not None and isinstance(ranking, Meaning):
        terms = " ".join(_checked_terms(query.match_terms))
        required = {ranking.field: {"$match_all": terms}}
        filter = {"$and": [filter, required]} if filter else required
    found = await index.search(space, ranking, query.top_k, filter) if ranking else []
    hits = [_hit(each, score, asked.fields) for each, score in found]
    return {"result": {"hits": hits}, "usage": {"read_units": 1}}


async def _ranking(index: EmbeddedIndex, namespace: str, query: Query) -> Ranking | None:
    given = [each for each in (query.inputs, query.vector, query.id) if each is not None]
    if len(given) != 1:
        raise ValueError("a search is by inputs, by a vector or by an id: just one of them")
    if query.id is not None:
        return next(iter(await by_record(index, namespace, query.id)), None)
    if query.vector is not None:
        return _by_vector(index, query.vector)
    text = (query.inputs or {}).get("text")
    if not isinstance(text, str):
        raise ValueError('inputs is an object such as {"text": "…"}')  # noqa: TRY004
    if index.schema.embedded:
        return Meaning(only(index.schema.embedded, "embedded"), text)
    required = _checked_terms(query.match_terms) if query.match_terms else []
    field = only(index.schema.worded, "text")
    return Wording([Words(text, (field,))], required)


def _by_vector(index: EmbeddedIndex, given: dict[str, Any]) -> Ranking:
    if given.get("values"):
        field = only(list(index.dense), "dense")
        metric = metric_of(index.schema, field)
        return Nearness(field, dense_vector(given["values"], index.dimensions[field], metric))
    indices, values = sparse_parts(
        {"indices": given.get("sparse_indices"), "values": given.get("sparse_values")}
    )
    return Product(only(list(index.sparse), "sparse"), indices, values)


def _checked_terms(given: MatchTerms) -> list[str]:
    if given.strategy != "all":
        raise ValueError('match_terms knows the strategy "all" only')
    if not given.terms:
        raise ValueError("match_terms needs a term")
    return given.terms


def _hit(document: Document, score: float, wanted: Sequence[str] | None) -> dict[str, Any]:
    return {"_id": document.id, "_score": score, "fields": chosen(document, wanted or ["*"])}


def chosen(document: Document, wanted: Sequence[str]) -> dict[str, Any]:
    """The fields that were asked for; `*` asks for all of them."""
    if "*" in wanted:
        return document.fields
    return {name: document.fields[name] for name in wanted if name in document.fields}
