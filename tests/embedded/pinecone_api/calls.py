"""Helpers of the data plane tests: an index that opens quickly, and a tiny embedder."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np

from service.embedded.client import EmbeddedAsyncIndex
from service.embedded.index import EmbeddedIndex
from service.embedded.schema import DenseField, Schema, SparseField, TextField
from service.inference.embedder import CorpusStatistics, Vector, Vectors
from service.inference.reranker import Reranker

NS = "here"

BOTH = Schema({"chunk_text": TextField(embed=True, full_text=True)})
WORDS = Schema({"chunk_text": TextField(embed=False, full_text=True)})
SPARSE = Schema({"weights": SparseField()})
HYBRID = Schema({"embedding": DenseField(4, "dotproduct"), "weights": SparseField()})
SEVERAL_TEXTS = Schema(
    {"title": TextField(embed=True, full_text=True), "body": TextField(False, full_text=True)}
)
SEVERAL_VECTORS = Schema({"front": DenseField(4, "cosine"), "back": DenseField(3, "euclidean")})


class TinyEmbedder:
    """Embeds a text as the counts of its words, by digest."""

    name = "tiny"
    dimension = 32

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                row[zlib.crc32(word.encode()) % self.dimension] += 1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Vectors = vectors / np.maximum(lengths, 1e-9)
        return unit

    def embed_query(self, text: str, corpus: CorpusStatistics) -> Vector:
        vector: Vector = self.embed([text])[0]
        return vector

    def count(self, texts: Sequence[str], corpus: CorpusStatistics, sign: int) -> None:
        corpus.texts += sign * len(texts)


@contextlib.asynccontextmanager
async def opened(
    folder: Path, schema: Schema, reranker: Reranker | None = None
) -> AsyncIterator[EmbeddedAsyncIndex]:
    index = EmbeddedIndex(folder, schema, TinyEmbedder())
    await asyncio.to_thread(index.open)
    try:
        yield EmbeddedAsyncIndex(index, reranker)
    finally:
        await asyncio.to_thread(index.close)
