"""Reranking with cross-encoders of `sentence-transformers`, which read query and text together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import StartupFailed
from service.inference.embedder import clean_text
from service.inference.model_files import import_optional, load_model
from service.inference.reranker import RerankResult

BATCH = 32


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
