"""One question, two wordings: the records calls and the documents calls.

An index made with `create_for_model` is asked through `search` and written through
`upsert_records`; a document index through `documents`. Above this file there are only questions,
answers and records.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import quote

from pinecone.models.vectors.vector import Vector

from service.indexes.port import AsyncIndexPort
from service.indexes.writes import EMBEDDED_AT_ONCE, Page, Record, RecordPage, Selection

DenseClause = Literal["embed"]
SparseClause = Literal["sparse_embed", "text"]


NO_LIMIT = math.inf  # seconds
MAX_URL_BYTES = 6_000  # of ids; servers refuse lines of more than 8 kB altogether


class Hit(NamedTuple):
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
    match_terms: tuple[str, ...] = ()
    typos: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the index found, best first, and the units that it used up."""

    hits: list[Hit]
    usage: Mapping[str, int]


class Dialect(Protocol):
    """A way of asking an index, and of writing to it."""

    @property
    def reranks(self) -> bool:
        """Whether `ask` can rerank inside of the search."""
        ...

    @property
    def forgives_typos(self) -> bool:
        """Whether `ask` can let words pass that are off by a letter."""
        ...

    @property
    def max_records(self) -> int:
        """How many records one `upsert` takes; its JSON has at most MAX_UPSERT_BYTES."""
        ...

    async def ask(self, index: AsyncIndexPort, question: Question, rerank: Rerank | None) -> Answer:
        """Takes as long as it takes: whoever asks has a deadline."""
        ...

    async def upsert(
        self, index: AsyncIndexPort, namespace: str, records: Sequence[Record], timeout: float
    ) -> None: ...

    async def fetch(
        self, index: AsyncIndexPort, namespace: str, ids: Sequence[str], timeout: float
    ) -> dict[str, Record]:
        """The records that are there, by id."""
        ...

    async def fetch_where(
        self,
        index: AsyncIndexPort,
        namespace: str,
        filter: Mapping[str, Any],
        limit: int,
        cursor: str | None,
        timeout: float,
    ) -> RecordPage:
        """A page of the records that a filter selects."""
        ...

    async def list_ids(
        self,
        index: AsyncIndexPort,
        namespace: str,
        prefix: str | None,
        limit: int | None,
        cursor: str | None,
        timeout: float,
    ) -> Page: ...

    async def delete(
        self, index: AsyncIndexPort, namespace: str, selection: Selection, timeout: float
    ) -> int | None:
        """Delete at most MAX_IDS ids, or by filter, or all; how many, where the index says it."""
        ...


class RecordsDialect:
    """`index.search`: the index embeds the text by the model that it was made for."""

    reranks = True
    forgives_typos = False
    max_records = EMBEDDED_AT_ONCE

    async def ask(self, index: AsyncIndexPort, question: Question, rerank: Rerank | None) -> Answer:
        response = await index.search(
            namespace=question.namespace,
            top_k=question.top_k,
            inputs={"text": question.text},
            filter=question.filter,
            fields=question.fields,
            rerank={"model": rerank.model, "rank_fields": [rerank.field]} if rerank else None,
            match_terms=_all_of(question.match_terms) if question.match_terms else None,
            timeout=NO_LIMIT,
        )
        usage = response.usage
        return Answer(
            hits=[Hit(hit.id_, hit.score_, hit.fields) for hit in response.result.hits],
            usage=_used(usage.read_units, usage.embed_total_tokens, usage.rerank_units),
        )

    async def upsert(
        self, index: AsyncIndexPort, namespace: str, records: Sequence[Record], timeout: float
    ) -> None:
        await index.upsert_records(
            records=[dict(record) for record in records], namespace=namespace, timeout=timeout
        )

    async def fetch(
        self, index: AsyncIndexPort, namespace: str, ids: Sequence[str], timeout: float
    ) -> dict[str, Record]:
        """The ids stand in the URL, so those that are long take several calls."""
        found: dict[str, Record] = {}
        for part in _fit_for_a_url(ids):
            answer = await index.fetch(ids=part, namespace=namespace, timeout=timeout)
            found.update((id, _vector_record(id, each)) for id, each in answer.vectors.items())
        return found

    async def fetch_where(
        self,
        index: AsyncIndexPort,
        namespace: str,
        filter: Mapping[str, Any],
        limit: int,
        cursor: str | None,
        timeout: float,
    ) -> RecordPage:
        answer = await index.fetch_by_metadata(
            filter=filter,
            namespace=namespace,
            limit=limit,
            pagination_token=cursor,
            timeout=timeout,
        )
        records = [_vector_record(id, each) for id, each in answer.vectors.items()]
        return RecordPage(records, answer.pagination.next if answer.pagination else None)

    async def list_ids(
        self,
        index: AsyncIndexPort,
        namespace: str,
        prefix: str | None,
        limit: int | None,
        cursor: str | None,
        timeout: float,
    ) -> Page:
        answer = await index.list_paginated(
            prefix=prefix,
            limit=limit,
            pagination_token=cursor,
            namespace=namespace,
            timeout=timeout,
        )
        ids = [item.id for item in answer.vectors if item.id is not None]
        return Page(ids, answer.pagination.next if answer.pagination else None)

    async def delete(
        self, index: AsyncIndexPort, namespace: str, selection: Selection, timeout: float
    ) -> int | None:
        await index.delete(
            ids=selection.ids and list(selection.ids),
            filter=selection.filter,
            delete_all=selection.all,
            namespace=namespace,
            timeout=timeout,
        )
        return None


@dataclass(frozen=True, slots=True)
class DocumentsDialect:
    """`index.documents`: one clause over one field of a document index."""

    clause: DenseClause | SparseClause
    field: str
    forgives_typos: bool = False
    max_records: int = EMBEDDED_AT_ONCE

    @property
    def reranks(self) -> bool:
        return False

    async def ask(self, index: AsyncIndexPort, question: Question, rerank: Rerank | None) -> Answer:
        assert rerank is None, "the documents call can't rerank"  # noqa: S101 - our own contract
        response = await index.documents.search(
            namespace=question.namespace,
            score_by=[self._clause(question)],
            top_k=question.top_k,
            include_fields=["*"] if question.fields is None else question.fields,
            filter=self._filter(question),
            timeout=NO_LIMIT,
        )
        usage = response.usage
        return Answer(
            hits=[_document_hit(match.to_dict()) for match in response.matches],
            usage=_used(usage.read_units, usage.embed_total_tokens) if usage else {},
        )

    def _clause(self, question: Question) -> dict[str, Any]:
        clause: dict[str, Any] = {"type": self.clause, "query": question.text}
        if question.typos and self.forgives_typos:
            clause["typos"] = True
        return clause | (
            {"fields": [self.field]} if self.clause == "text" else {"field": self.field}
        )

    def _filter(self, question: Question) -> Mapping[str, Any] | None:
        if not question.match_terms:
            return question.filter
        terms = {self.field: {"$match_all": " ".join(question.match_terms)}}
        return {"$and": [question.filter, terms]} if question.filter else terms

    async def upsert(
        self, index: AsyncIndexPort, namespace: str, records: Sequence[Record], timeout: float
    ) -> None:
        await index.documents.upsert(namespace=namespace, documents=records, timeout=timeout)

    async def fetch(
        self, index: AsyncIndexPort, namespace: str, ids: Sequence[str], timeout: float
    ) -> dict[str, Record]:
        answer = await index.documents.fetch(namespace=namespace, ids=list(ids), timeout=timeout)
        return {id: {"_id": id, **each.to_dict()} for id, each in answer.documents.items()}

    async def fetch_where(
        self,
        index: AsyncIndexPort,
        namespace: str,
        filter: Mapping[str, Any],
        limit: int,
        cursor: str | None,
        timeout: float,
    ) -> RecordPage:
        answer = await index.documents.fetch(
            namespace=namespace,
            filter=filter,
            limit=limit,
            pagination_token=cursor,
            timeout=timeout,
        )
        records = [{"_id": id, **each.to_dict()} for id, each in answer.documents.items()]
        return RecordPage(records, answer.pagination.next if answer.pagination else None)

    async def list_ids(
        self,
        index: AsyncIndexPort,
        namespace: str,
        prefix: str | None,
        limit: int | None,
        cursor: str | None,
        timeout: float,
    ) -> Page:
        listing = index.documents.list(
            namespace=namespace,
            prefix=prefix,
            limit=limit,
            pagination_token=cursor,
            timeout=timeout,
        )
        async with contextlib.aclosing(listing.pages()) as pages:
            page = await anext(pages)
        return Page([item.id for item in page.items], page.pagination_token)

    async def delete(
        self, index: AsyncIndexPort, namespace: str, selection: Selection, timeout: float
    ) -> int | None:
        answer = await index.documents.delete(
            namespace=namespace,
            ids=selection.ids,
            filter=selection.filter,
            delete_all=selection.all,
            timeout=timeout,
        )
        return answer.matched_records


def _document_hit(match: dict[str, Any]) -> Hit:
    return Hit(str(match.pop("_id")), float(match.pop("_score")), match)


def _vector_record(id: str, vector: Vector) -> Record:
    """The fields of a record, its text with them, are its vector's metadata."""
    return {"_id": id, **(vector.metadata or {})}


def _fit_for_a_url(ids: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for id in ids:
        length = len(quote(id, safe="")) + len("&ids=")
        if part and size + length > MAX_URL_BYTES:
            yield part
            part, size = [], 0
        part.append(id)
        size += length
    if part:
        yield part


def _used(read: int, embed: int | None = None, rerank: int | None = None) -> dict[str, int]:
    units = {"read_units": read, "embed_total_tokens": embed, "rerank_units": rerank}
    return {name: count for name, count in units.items() if count is not None}


def _all_of(terms: Sequence[str]) -> dict[str, Any]:
    return {"strategy": "all", "terms": list(terms)}
