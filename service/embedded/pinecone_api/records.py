"""The records dialect, in which the index embeds texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta

from service.embedded.errors import EngineError
from service.embedded.filters.validation import check_filter_fields
from service.embedded.index import EmbeddedIndex
from service.embedded.lexical.queries import TextClause
from service.embedded.pinecone_api import similarity
from service.embedded.pinecone_api.bodies import Filter, Sparse, TopK, read, read_value
from service.embedded.pinecone_api.document_parsing import parse_document
from service.embedded.pinecone_api.validation import (
    check_namespace,
    drop_nulls,
    only_field,
    select_fields,
)
from service.embedded.queries import IndexQuery, LexicalQuery, SemanticQuery
from service.indexes.limits import MAX_EMBEDDED_RECORDS, MAX_RETURNED_FIELDS
from service.inference.reranker import Reranker


class Inputs(msgspec.Struct):
    """The text to search for."""

    text: str


class Vector(msgspec.Struct):
    """The vector to search for."""

    values: list[float] | None = None
    sparse_indices: list[int] | None = None
    sparse_values: list[float] | None = None


class MatchTerms(msgspec.Struct):
    """Words that every hit must contain."""

    terms: Annotated[list[str], Meta(min_length=1)]
    strategy: Literal["all"] = "all"


class Query(msgspec.Struct):
    """The query: by text, by vector or by the id of a record."""

    top_k: TopK
    inputs: Inputs | None = None
    vector: Vector | None = None
    id: str | None = None
    filter: Filter | None = None
    match_terms: MatchTerms | None = None


class Rerank(msgspec.Struct):
    """Reranking of the hits."""

    model: str
    rank_fields: Annotated[list[str], Meta(min_length=1)]
    top_n: Annotated[int, Meta(ge=1)] | None = None
    query: str | None = None


class Search(msgspec.Struct):
    """The body of /records/namespaces/{namespace}/search."""

    query: Query
    fields: Annotated[list[str], Meta(max_length=MAX_RETURNED_FIELDS)] | None = None
    rerank: Rerank | None = None


async def upsert(index: EmbeddedIndex, namespace: str, body: bytes) -> dict[str, Any]:
    """Write records, which are NDJSON: one in each line."""
    records = [
        _record(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()
    ]
    if not 1 <= len(records) <= MAX_EMBEDDED_RECORDS:
        raise ValueError(f"an upsert has 1 to {MAX_EMBEDDED_RECORDS} records")
    documents = [parse_document(index, id, fields) for id, fields in records]
    await index.upsert(check_namespace(namespace), documents)
    return {}


def _record(number: int, line: bytes) -> tuple[Any, dict[str, Any]]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise ValueError(f"line {number} is not JSON: {exc}") from None
    if not isinstance(record, dict):
        raise ValueError(f"line {number} is not a JSON object")  # noqa: TRY004 - a value in a request
    alias = record.pop("id", None)
    return record.pop("_id", alias), drop_nulls(record)


async def search(
    index: EmbeddedIndex, reranker: Reranker | None, namespace: str, body: bytes
) -> dict[str, Any]:
    request = read(body, Search)
    query = request.query
    check_filter_fields(index.schema, query.filter)
    space = check_namespace(namespace)
    if request.rerank is not None:
        reranker = _checked_reranker(reranker, request.rerank, query)
    queries = await _rankings(index, space, query)
    filter = _with_terms(query, queries)
    found = await similarity.search(index, space, queries, query.top_k, filter)
    usage = {"read_units": 1}
    if request.rerank is not None and reranker is not None:
        found, usage["rerank_units"] = await _reranked(reranker, request.rerank, query, found)
    names = request.fields or ["*"]
    hits = [
        {"_id": each.id, "_score": score, "fields": select_fields(each.fields, names)}
        for each, score in found
    ]
    return {"result": {"hits": hits}, "usage": usage}


async def _rankings(index: EmbeddedIndex, namespace: str, query: Query) -> Sequence[IndexQuery]:
    given = [each for each in (query.inputs, query.vector, query.id) if each is not None]
    if len(given) != 1:
        raise ValueError("give exactly one of inputs, vector and id")
    if query.inputs is not None:
        return [_by_text(index, query.inputs.text, query.match_terms)]
    if query.match_terms is not None:
        raise ValueError("match_terms is valid with inputs only")
    if query.id is not None:
        return await similarity.queries_by_record(index, namespace, query.id)
    return _by_vector(index, query.vector or Vector())


def _by_text(index: EmbeddedIndex, text: str, required: MatchTerms | None) -> IndexQuery:
    if index.schema.semantic_fields:
        return SemanticQuery(only_field(index.schema.semantic_fields, "embedded"), text)
    field = only_field(index.schema.full_text_fields, "text")
    return LexicalQuery([TextClause(text, (field,))], required.terms if required else [])


def _by_vector(index: EmbeddedIndex, given: Vector) -> list[IndexQuery]:
    sparse = None
    if given.sparse_indices is not None or given.sparse_values is not None:
        parts = {"indices": given.sparse_indices, "values": given.sparse_values}
        sparse = read_value(parts, Sparse, "the sparse vector is invalid")
    queries = similarity.queries_by_vectors(index, given.values, sparse)
    if not queries:
        raise ValueError("the vector has neither values nor sparse values")
    return queries


def _with_terms(query: Query, queries: Sequence[IndexQuery]) -> Filter | None:
    """A semantic query requires `match_terms` by a filter; a lexical one has them itself."""
    if query.match_terms is None or not isinstance(queries[0], SemanticQuery):
        return query.filter
    required = {queries[0].field: {"$match_all": " ".join(query.match_terms.terms)}}
    return {"$and": [query.filter, required]} if query.filter else required


def _checked_reranker(reranker: Reranker | None, request: Rerank, query: Query) -> Reranker:
    if reranker is None:
        raise ValueError("this index has no reranker; leave rerank out")
    if request.model != reranker.model:
        raise ValueError(
            f"{request.model!r} is not the reranker of this index: {reranker.model!r} is"
        )
    if query.top_k > reranker.max_documents:
        raise ValueError(f"{reranker.model} reranks at most {reranker.max_documents} hits")
    if request.query is None and query.inputs is None:
        raise ValueError("rerank needs a query, because the search has no text")
    return reranker


async def _reranked(
    reranker: Reranker, request: Rerank, query: Query, found: similarity.Ranked
) -> tuple[similarity.Ranked, int]:
    if not found:
        return found, 0
    text = request.query if request.query is not None else query.inputs.text if query.inputs else ""
    texts = [
        "\n".join(
            value for name in request.rank_fields if isinstance(value := each.fields.get(name), str)
        )
        for each, _ in found
    ]
    try:
        ranking = await reranker.rerank(text, texts)
    except (OSError, ValueError) as exc:  # not an error of the files or of the caller
        raise EngineError(503, "the reranker failed") from exc
    best = [(found[at][0], score) for at, score in ranking.order]
    return best[: request.top_n or query.top_k], ranking.units
