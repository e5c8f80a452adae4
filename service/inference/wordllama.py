"""The default embedder: static vectors that are part of the `wordllama` package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import wordllama
from wordllama import WordLlama

from service.inference.model_files import files_digest
from service.inference.static_embedder import StaticEmbedder


class WordLlamaEmbedder(StaticEmbedder):
    """Fast, without download or GPU.

    It ignores word order and is imprecise for codes and rare names, which the lexical leg covers.
    """

    def __init__(self) -> None:
        # Without cache_dir, wordllama looks for the tokenizer elsewhere and on the network.
        folder = Path(wordllama.__file__).parent
        model = WordLlama.load(cache_dir=folder, disable_download=True)
        model.tokenizer.no_padding()
        token_vectors = np.asarray(model.embedding, dtype=np.float32)
        identity = files_digest(
            folder, [*folder.glob("weights/*"), *folder.glob("tokenizers/*.json")]
        )
        super().__init__(
            f"wordllama-{token_vectors.shape[1]}@{identity}", model.tokenizer, token_vectors
        )
