"""The `score_by` of a documents search: six ways of scoring, and what each means here."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from service.embedded.index import EmbeddedIndex
from service.embedded.lexical.index import TextClause
from service.embedded.pinecone_api.bodies import Sparse
from service.embedded.pinecone_api.similarity import dense_query, sparse_query
from service.embedded.queries import IndexQuery, LexicalQuery, SemanticQuery
from service.indexes.filters import shown


class Clause(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True):
    """One way of scoring, by some fields."""

    field: str | None = None
    fields: list[str] | None = None


class Text(Clause, tag="text"):
    """Words in some fields. `typos` is ours: the words may be misspelled."""

    query: str
    typos: bool = False


class QueryString(Clause, tag="query_string"):
    """Words in a syntax of their own, which names fields itself."""

    query: str


class DenseVector(Clause, tag="dense_vector"):
    """What is near a vector."""

    values: list[float]


class SparseVector(Clause, tag="sparse_vector"):
    """What has the largest dot product with a sparse vector."""

    sparse_values: Sparse


class Embed(Clause, tag="embed"):
    """What means the same."""

    query: str


class SparseEmbed(Clause, tag="sparse_embed"):
    """With Pinecone, a sparse model; here BM25 stands in for it."""

    query: str


AnyClause = Text | QueryString | DenseVector | SparseVector | Embed | SparseEmbed


def parse_score_by(index: EmbeddedIndex, clauses: Sequence[AnyClause]) -> IndexQuery:
    words = [_words(index, each) for each in clauses if isinstance(each, Text | QueryString)]
    if len(words) == len(clauses):
        return LexicalQuery(list(dict.fromkeys(words)))  # a clause that is repeated counts once
    if len(clauses) > 1:
        raise ValueError("only text and query_string clauses may stand together in score_by")
    return _alone(index, clauses[0])


def _words(index: EmbeddedIndex, clause: Text | QueryString) -> TextClause:
    names = _names(clause)
    if isinstance(clause, QueryString):
        if names:
            raise ValueError("a query_string names its fields itself, as in title:word")
        if not index.schema.full_text_fields:
            raise ValueError("this index has no text field")
        return TextClause(clause.query, (), syntax=True)
    if not names:
        raise ValueError("a clause of type text names the fields that it looks in")
    fields = tuple(
        _known(name, index.schema.full_text_fields, clause) for name in dict.fromkeys(names)
    )
    return TextClause(clause.query, fields, typos=clause.typos)


def _alone(index: EmbeddedIndex, clause: AnyClause) -> IndexQuery:
    names = _names(clause)
    if len(names) != 1:
        raise ValueError(f"a clause of type {_type(clause)} names one field")
    schema, name = index.schema, names[0]
    if isinstance(clause, DenseVector):
        return dense_query(index, _known(name, list(index.dense), clause), clause.values)
    if isinstance(clause, SparseVector):
        return sparse_query(_known(name, schema.sparse_fields, clause), clause.sparse_values)
    if not clause.query:
        raise ValueError(f"a clause of type {_type(clause)} needs a query that is not empty")
    if isinstance(clause, Embed):
        return SemanticQuery(_known(name, schema.semantic_fields, clause), clause.query)
    return LexicalQuery(
        [TextClause(clause.query, (_known(name, schema.full_text_fields, clause),))]
    )


def _names(clause: Clause) -> list[str]:
    if clause.field is not None and clause.fields is not None:
        raise ValueError("a clause has field or fields, not both")
    return clause.fields or ([] if clause.field is None else [clause.field])


def _known(name: str, known: Sequence[str], clause: Clause) -> str:
    if name not in known:
        names = ", ".join(known) or "none"
        raise ValueError(
            f"{shown(name)} can't be scored by {_type(clause)}; the fields for it: {names}"
        )
    return name


def _type(clause: Clause) -> str:
    return str(clause.__struct_config__.tag)
