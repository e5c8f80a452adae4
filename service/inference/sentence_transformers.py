"""Embedding and reranking with transformer models, over `sentence-transformers` and torch.

Both models run one batch at a time: tokenizers are not thread-safe, and a query should wait for no
more than a batch of other texts.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import StartupFailed
from service.inference.embedder import CorpusStatistics, Vector, Vectors, clean_text, normalize
from service.inference.model_files import import_optional, load_model
from service.inference.reranker import RerankResult

BATCH = 32


class SentenceTransformerEmbedder:
    """More accurate than static vectors, and a thousand times slower.

    A text is truncated to the limit of the model. One batch runs at a time, because the tokenizer
    is not thread-safe. Corpus statistics are not used.
    """

    def __init__(self, setting: str, model: str) -> None:
        library = import_optional("sentence_transformers", setting, "sentence-transformers")

        def load(folder: Path) -> Any:
            return library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)

        self._model, identity = load_model(setting, model, load)
        self._lock = threading.Lock()
        self.dimension = int(self._encode("encode_document", ["a"]).shape[1])
        self.name = f"sentence-transformers-{self.dimension}@{identity}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        rows = [row for row, text in enumerate(texts) if text and not text.isspace()]
        if rows:
            vectors[rows] = self._encode("encode_document", [texts[row] for row in rows])
        return vectors

    def embed_query(self, text: str, corpus: CorpusStatistics) -> Vector:  # noqa: ARG002 - part of the interface
        if not text or text.isspace():
            return np.zeros(self.dimension, dtype=np.float32)
        (vector,) = self._encode("encode_query", [text])
        return np.asarray(vector)

    def count(self, texts: Sequence[str], corpus: CorpusStatistics, sign: int) -> None:
        """Do nothing: no statistics are used."""

    def _encode(self, method: str, texts: Sequence[str]) -> Vectors:
        """Encode with the prompt for queries or for documents, if the model has one."""
        found: list[Vectors] = []
        for start in range(0, len(texts), BATCH):
            with self._lock:  # so that a query waits for one batch only
                vectors = getattr(self._model, method)(
                    [clean_text(text) for text in texts[start : start + BATCH]],
                    batch_size=BATCH,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
            found.append(normalize(np.asarray(vectors, dtype=np.float32)))
        return np.concatenate(found)


class CrossEncoderReranker:
    """The most accurate reranker and the slowest: each candidate takes a run of the model.

    One batch runs at a time. A cancelled call stops at the end of its batch.
    """

    max_documents = 100

    def __init__(self, setting: str, model: str) -> None:
        library = import_optional("sentence_transformers", setting, "sentence-transformers")

        def load(folder: Path) -> Any:
            encoder = library.CrossEncoder(str(folder), device="cpu", local_files_only=True)
            if encoder.num_labels != 1:
                raise StartupFailed(
                    f"{setting}: {model!r} is a classifier with {encoder.num_labels} classes; "
                    "a reranker must have one score"
                )
            return encoder

        self._encoder, identity = load_model(setting, model, load)
        self._sigmoid = import_optional("torch", setting, "sentence-transformers").nn.Sigmoid()
        self._lock = threading.Lock()
        self.model = f"sentence-transformers@{identity}"

    async def rerank(self, query: str, documents: Sequence[str]) -> RerankResult:
        cancelled = threading.Event()
        try:
            return await asyncio.to_thread(self._rank, query, documents, cancelled)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def _rank(
        self, query: str, documents: Sequence[str], cancelled: threading.Event
    ) -> RerankResult:
        pairs = [(clean_text(query), clean_text(text)) for text in documents]
        scores: list[float] = []
        for start in range(0, len(pairs), BATCH):
            with self._lock:
                if cancelled.is_set():
                    return RerankResult([], 0)
                found = self._encoder.predict(
                    pairs[start : start + BATCH],
                    batch_size=BATCH,
                    show_progress_bar=False,
                    activation_fn=self._sigmoid,
                    convert_to_numpy=True,
                )
            scores += np.nan_to_num(np.asarray(found, dtype=np.float64)).tolist()
        order = sorted(enumerate(scores), key=lambda pair: -pair[1])
        return RerankResult(order, 0)
