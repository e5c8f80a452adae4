"""Opens the embedder and the reranker that the settings name, which may take seconds."""

from __future__ import annotations

from collections.abc import Callable

from service.errors import StartupFailed
from service.inference.builtin_reranker import BuiltinReranker
from service.inference.embedder import CorpusStatistics, Embedder
from service.inference.reranker import Reranker
from service.inference.sentence_transformers import (
    CrossEncoderReranker,
    SentenceTransformerEmbedder,
)
from service.inference.static_embedder import model2vec_embedder, wordllama_embedder

EMBEDDERS = "wordllama, model2vec:<folder or hub id>, sentence-transformers:<folder or hub id>"
RERANKERS = "builtin, none, sentence-transformers:<folder or hub id>"


def open_embedder(setting: str) -> Embedder:
    """Open the embedder of the setting EMBEDDER."""
    kind, _, model = setting.partition(":")
    if setting == "wordllama":
        return wordllama_embedder()
    if kind == "model2vec" and model:
        return model2vec_embedder("EMBEDDER", model)
    if kind == "sentence-transformers" and model:
        return SentenceTransformerEmbedder("EMBEDDER", model)
    raise StartupFailed(f"EMBEDDER: {setting!r} is not known; use one of {EMBEDDERS}")


def max_reranked_documents(setting: str) -> int:
    """Return how many documents the reranker of RERANKER accepts per call; 0 for none."""
    if setting == "none":
        return 0
    builtin = setting == "builtin"
    return BuiltinReranker.max_documents if builtin else CrossEncoderReranker.max_documents


def open_reranker(
    setting: str,
    embedder: Embedder,
    corpus: Callable[[], CorpusStatistics],
    language: str = "english",
) -> Reranker | None:
    """Open the reranker of the setting RERANKER.

    The built-in one uses the embedder and the corpus statistics of the index, and `language`.
    """
    kind, _, model = setting.partition(":")
    if setting == "none":
        return None
    if setting == "builtin":
        return BuiltinReranker(embedder, corpus, language)
    if kind == "sentence-transformers" and model:
        return CrossEncoderReranker("RERANKER", model)
    raise StartupFailed(f"RERANKER: {setting!r} is not known; use one of {RERANKERS}")
