"""Embedding with transformer models, over the `sentence-transformers` package and torch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.inference.embedder import CorpusStatistics, Vector, Vectors, clean_text, normalize
from service.inference.model_files import import_optional, load_model

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
