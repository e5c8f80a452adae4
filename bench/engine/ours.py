"""Cascade's embedded engine, as an engine of the comparison."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from bench.engine.corpus import TOP_K, Batch, Vectors
from bench.engine.port import Filter
from service.backends.embedded_index import EmbeddedTextIndex
from service.embedded.data_directory import opened_index
from service.embedded.queries import DenseQuery
from service.embedded.schema import Schema, TextField
from service.embedded.views.view import delete_views
from service.indexes.queries import IndexQuery
from service.indexes.records import EncodedRecord
from service.inference.embedder import CorpusStatistics
from service.inference.static_embedder import wordllama_embedder

NAME, FIELD, NAMESPACE = "records", "text", "__default__"
POLL_S = 0.02
TIMEOUT_S = 60.0
SCHEMA = Schema({FIELD: TextField(embed=True, full_text=True)})


class Cascade:
    """Opened and searched as in the service."""

    packages: tuple[str, ...] = ("usearch", "tantivy", "wordllama")
    batch = 1_000

    def __init__(self) -> None:
        self._embedder = wordllama_embedder()
        self._exit = contextlib.AsyncExitStack()

    async def open(self, folder: Path) -> None:
        opening = opened_index(folder, NAME, SCHEMA, self._embedder)
        self._index = await self._exit.enter_async_context(opening)
        self._dense = EmbeddedTextIndex("dense", self._index, FIELD)
        self._sparse = EmbeddedTextIndex("sparse", self._index, FIELD)
        while {self._dense.rebuild_progress(), self._sparse.rebuild_progress()} != {None}:  # noqa: ASYNC110 - as /readyz is asked
            await asyncio.sleep(POLL_S)

    async def load(self, batch: Batch) -> None:
        """Embeds the texts itself; the load rate includes that."""
        records = []
        for id, text, fields in zip(batch.ids, batch.texts, batch.fields, strict=True):
            stored = {FIELD: text, **fields}
            records.append(EncodedRecord(id, stored, orjson.dumps(stored)))
        await self._dense.upsert(NAMESPACE, records, TIMEOUT_S)

    async def finish(self) -> None:
        await self._index.wait_until_visible()

    async def search_dense(self, vector: Vectors, filter: Filter | None) -> list[str] | None:
        query = DenseQuery(FIELD, vector)
        found = await self._index.search(NAMESPACE, query, TOP_K, _condition(filter))
        return [document.id for document, _ in found]

    async def search_words(self, words: str, filter: Filter | None) -> list[str]:
        return await self._search(self._sparse, words, filter)

    async def search_meaning(self, words: str, filter: Filter | None) -> list[str]:
        return await self._search(self._dense, words, filter)

    async def _search(
        self, index: EmbeddedTextIndex, words: str, filter: Filter | None
    ) -> list[str]:
        query = IndexQuery(words, TOP_K, NAMESPACE, _condition(filter), fields=())
        response = await index.search(query, None, TIMEOUT_S)
        return [hit.id for hit in response.hits]

    async def close(self) -> None:
        await self._exit.aclose()


def _condition(filter: Filter | None) -> dict[str, Any] | None:
    return {filter[0]: {"$eq": filter[1]}} if filter else None


def lose_views(folder: Path) -> None:
    """Delete all views, and keep the records."""
    delete_views(folder / NAME)


class Embedding:
    """The embedder that makes the vectors for all engines."""

    def __init__(self) -> None:
        self._embedder = wordllama_embedder()

    def texts(self, texts: Sequence[str]) -> Vectors:
        return self._embedder.embed(texts)

    def questions(self, questions: Sequence[str], corpus: Iterator[Sequence[str]]) -> Vectors:
        """Embed queries like the engine: word pieces are weighted by rarity in the corpus."""
        seen = CorpusStatistics()
        for texts in corpus:
            self._embedder.count(texts, seen, 1)
        vectors: Vectors = np.stack([self._embedder.embed_query(each, seen) for each in questions])
        return vectors
