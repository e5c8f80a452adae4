"""A query to an index, and its response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple


class Hit(NamedTuple):
    """A record that an index found, with its score there."""

    id: str
    score: float
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InlineRerank:
    """Reranking by the index itself, as part of the search."""

    model: str
    field: str


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """A query by text. `fields` of None returns all of them."""

    text: str
    top_k: int
    namespace: str
    filter: Mapping[str, Any] | None = None
    fields: tuple[str, ...] | None = None
    match_terms: tuple[str, ...] = ()
    typos: bool = False


@dataclass(frozen=True, slots=True)
class IndexResponse:
    """The hits, best first, the units used, and the number of attempts that it took."""

    hits: list[Hit]
    usage: Mapping[str, int]
    attempts: int = 1


def with_match_terms(query: IndexQuery, field: str) -> Mapping[str, Any] | None:
    """The filter of a query, which also requires its `match_terms` in a text field."""
    if not query.match_terms:
        return query.filter
    terms = {field: {"$match_all": " ".join(query.match_terms)}}
    return {"$and": [query.filter, terms]} if query.filter else terms


def with_attempts(response: IndexResponse, attempts: int) -> IndexResponse:
    """The response of a search that took this number of attempts."""
    return replace(response, attempts=attempts) if attempts > 1 else response


def usage_of(read: int, embed: int | None = None, rerank: int | None = None) -> dict[str, int]:
    """The units that a response reports."""
    units = {"read_units": read, "embed_total_tokens": embed, "rerank_units": rerank}
    return {name: count for name, count in units.items() if count is not None}
