"""One question, two wordings: the records call and the documents call.

An index made with `create_for_model` is asked through `search`, a document index through
`documents.search`. Above this file there is only `Question` and `Answer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from service.indexes.port import AsyncIndexPort

DenseClause = Literal["embed"]
SparseClause = Literal["sparse_embed", "text"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One record that an index found: its id, the score of the leg, and its fields."""

    id: str
    score: float
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rerank:
    """The order to rerank inside of the search itself."""

    model: str
    field: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a leg asks its index. `fields` of None asks for all of them."""

    text: str
    top_k: int
    namespace: str
    filter: Mapping[str, Any] | None = None
    fields: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the index found, best first, and the units that it used up."""

    hits: list[Hit]
    usage: Mapping[str, int]


class Dialect(Protocol):
    """A way of asking an index."""

    reranks: bool
    """Whether `ask` can rerank inside of the search."""

    async def ask(
        self, index: AsyncIndexPort, question: Question, rerank: Rerank | None, timeout: float
    ) -> Answer: ...


class RecordsDialect:
    """`index.search`: the index embeds the text by the model that it was made for."""

    reranks = True

    async def ask(
        self, index: AsyncIndexPort, question: Question, rerank: Rerank | None, timeout: float
    ) -> Answer:
        response = await index.search(
            namespace=question.namespace,
            top_k=question.top_k,
            inputs={"text": question.text},
            filter=question.filter,
            fields=question.fields,
            rerank={"model": rerank.model, "rank_fields": [rerank.field]} if rerank else None,
            timeout=timeout,
        )
        usage = response.usage
        return Answer(
            hits=[Hit(hit.id_, hit.score_, hit.fields) for hit in response.result.hits],
            usage=_used(usage.read_units, usage.embed_total_tokens, usage.rerank_units),
        )


@dataclass(frozen=True, slots=True)
class DocumentsDialect:
    """`index.documents.search`: one clause over one field of a document index."""

    clause: DenseClause | SparseClause
    field: str
    reranks = False

    async def ask(
        self, index: AsyncIndexPort, question: Question, rerank: Rerank | None, timeout: float
    ) -> Answer:
        assert rerank is None, "the documents call can't rerank"  # noqa: S101 - our own contract
        where = {"fields": [self.field]} if self.clause == "text" else {"field": self.field}
        response = await index.documents.search(
            namespace=question.namespace,
            score_by=[{"type": self.clause, "query": question.text, **where}],
            top_k=question.top_k,
            include_fields=["*"] if question.fields is None else question.fields,
            filter=question.filter,
            timeout=timeout,
        )
        usage = response.usage
        return Answer(
            hits=[_document_hit(match.to_dict()) for match in response.matches],
            usage=_used(usage.read_units, usage.embed_total_tokens) if usage else {},
        )


def _document_hit(match: dict[str, Any]) -> Hit:
    return Hit(str(match.pop("_id")), float(match.pop("_score")), match)


def _used(read: int, embed: int | None = None, rerank: int | None = None) -> dict[str, int]:
    units = {"read_units": read, "embed_total_tokens": embed, "rerank_units": rerank}
    return {name: count for name, count in units.items() if count is not None}
