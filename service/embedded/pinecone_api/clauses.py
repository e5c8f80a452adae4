"""The six clause types of `score_by` in a documents search, and the queries they stand for."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from service.embedded.index import EmbeddedIndex
from service.embedded.lexical.queries import TextClause
from service.embedded.pinecone_api.bodies import Sparse
from service.embedded.pinecone_api.similarity import dense_query, sparse_query
from service.embedded.queries import IndexQuery, LexicalQuery, SemanticQuery
from service.indexes.filters import shown


class Clause(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True):
    """A clause, which names one field or several."""

    field: str | None = None
    fields: list[str] | None = None


class Text(Clause, tag="text"):
    """BM25 of words in fields. `typos` is an extension: it matches misspelled words."""

    query: str
    typos: bool = False


class QueryString(Clause, tag="query_string"):
    """BM25 of a query in a syntax that names the fields itself."""

    query: str


class DenseVector(Clause, tag="dense_vector"):
    """Similarity to a dense vector."""

    values: list[float]


class SparseVector(Clause, tag="sparse_vector"):
    """The dot product with a sparse vector."""

    sparse_values: Sparse


class Embed(Clause, tag="embed"):
    """Similarity to the embedding of a text."""

    query: str


class SparseEmbed(Clause, tag="sparse_embed"):
    """A sparse embedding model in Pinecone; BM25 here."""

    query: str


AnyClause = Text | QueryString | DenseVector | SparseVector | Embed | SparseEmbed


def parse_score_by(index: EmbeddedIndex, clauses: Sequence[AnyClause]) -> IndexQuery:
    texts = [_text_clause(index, each) for each in clauses if isinstance(each, Text | QueryString)]
    if len(texts) == len(clauses):
        return LexicalQuery(list(dict.fromkeys(texts)))  # a repeated clause counts once
    if len(clauses) > 1:
        raise ValueError("only text and query_string clauses can be combined in score_by")
    return _single_query(index, clauses[0])


def _text_clause(index: EmbeddedIndex, clause: Text | QueryString) -> TextClause:
    names = _names(clause)
    if isinstance(clause, QueryString):
        if names:
            raise ValueError(
                "a query_string takes no fields; it names them itself, as in title:word"
            )
        if not index.schema.full_text_fields:
            raise ValueError("this index has no text field")
        return TextClause(clause.query, (), syntax=True)
    if not names:
        raise ValueError("a clause of type text must name its fields")
    fields = tuple(
        _checked(name, index.schema.full_text_fields, clause) for name in dict.fromkeys(names)
    )
    return TextClause(clause.query, fields, typos=clause.typos)


def _single_query(index: EmbeddedIndex, clause: AnyClause) -> IndexQuery:
    names = _names(clause)
    if len(names) != 1:
        raise ValueError(f"a clause of type {_type(clause)} must name exactly one field")
    schema, name = index.schema, names[0]
    if isinstance(clause, DenseVector):
        return dense_query(index, _checked(name, list(index.views.dense), clause), clause.values)
    if isinstance(clause, SparseVector):
        return sparse_query(_checked(name, schema.sparse_fields, clause), clause.sparse_values)
    if not clause.query:
        raise ValueError(f"a clause of type {_type(clause)} needs a non-empty query")
    if isinstance(clause, Embed):
        return SemanticQuery(_checked(name, schema.semantic_fields, clause), clause.query)
    return LexicalQuery(
        [TextClause(clause.query, (_checked(name, schema.full_text_fields, clause),))]
    )


def _names(clause: Clause) -> list[str]:
    if clause.field is not None and clause.fields is not None:
        raise ValueError("a clause takes field or fields, not both")
    return clause.fields or ([] if clause.field is None else [clause.field])


def _checked(name: str, known: Sequence[str], clause: Clause) -> str:
    if name not in known:
        names = ", ".join(known) or "none"
        raise ValueError(
            f"{shown(name)} can't be scored by {_type(clause)}; the fields for it: {names}"
        )
    return name


def _type(clause: Clause) -> str:
    return str(clause.__struct_config__.tag)
