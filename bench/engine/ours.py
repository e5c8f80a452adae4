"""Cascade's embedded engine. All that the comparison knows of it stands here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.engine.corpus import TOP_K, Batch, Vectors
from bench.engine.port import Filter
from service.embedded.data_directory import opened_index
from service.embedded.schema import Schema, TextField
from service.embedded.views.kinds import delete_views
from service.inference.embedder import CorpusStatistics
from service.inference.wordllama import WordLlamaEmbedder

NAME, FIELD, NAMESPACE = "records", "text", "__default__"
POLL_S = 0.02
SCHEMA = Schema({FIELD: TextField(embed=True, full_text=True)})


class Cascade:
    """Opened as the service opens it, asked as the service asks it."""

    packages: tuple[str, ...] = ("usearch", "tantivy", "wordllama")
    batch = 1_000

    def __init__(self) -> None:
        self._embedder = WordLlamaEmbedder()
        self._exit = contextlib.AsyncExitStack()

    async def open(self, folder: Path) -> None:
        opening = opened_index(folder, NAME, SCHEMA, self._embedder)
        self._index = await self._exit.enter_async_context(opening)
        engine = self._index.embedded  # what it rebuilds, it rebuilds in the background
        while (engine.dense_rebuild_progress(), engine.lexical_rebuild_progress()) != (None, None):  # noqa: ASYNC110 - as /readyz is asked
            await asyncio.sleep(POLL_S)

    async def load(self, batch: Batch) -> None:
        """It embeds the texts itself: its load rate has that inside."""
        documents = [
            {"_id": id, FIELD: text, **fields}
            for id, text, fields in zip(batch.ids, batch.texts, batch.fields, strict=True)
        ]
        await self._index.documents.upsert(namespace=NAMESPACE, documents=documents)

    async def finish(self) -> None:
        await self._index.embedded.wait_until_visible()

    async def search_dense(self, vector: Vectors, filter: Filter | None) -> list[str] | None:
        clause = {"type": "dense_vector", "field": FIELD, "values": vector.tolist()}
        return await self._search(clause, filter)

    async def search_words(self, words: str, filter: Filter | None) -> list[str]:
        return await self._search({"type": "text", "fields": [FIELD], "query": words}, filter)

    async def search_meaning(self, words: str, filter: Filter | None) -> list[str]:
        return await self._search({"type": "embed", "field": FIELD, "query": words}, filter)

    async def _search(self, clause: dict[str, Any], filter: Filter | None) -> list[str]:
        found = await self._index.documents.search(
            namespace=NAMESPACE,
            score_by=[clause],
            top_k=TOP_K,
            filter={filter[0]: {"$eq": filter[1]}} if filter else None,
        )
        return [match.id for match in found.matches]

    async def close(self) -> None:
        await self._exit.aclose()


def lose_views(folder: Path) -> None:
    """Take away all that is not the truth."""
    delete_views(folder / NAME)


class Embedding:
    """Its embedder, for the vectors that every engine is given."""

    def __init__(self) -> None:
        self._embedder = WordLlamaEmbedder()

    def texts(self, texts: Sequence[str]) -> Vectors:
        return self._embedder.embed(texts)

    def questions(self, questions: Sequence[str], corpus: Iterator[Sequence[str]]) -> Vectors:
        """As the engine does it: a word piece counts by how rare it is in the corpus."""
        seen = CorpusStatistics()
        for texts in corpus:
            self._embedder.count(texts, seen, 1)
        vectors: Vectors = np.stack([self._embedder.embed_query(each, seen) for each in questions])
        return vectors
