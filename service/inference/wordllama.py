"""The embedder that is always there: static vectors inside of the `wordllama` package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import wordllama
from wordllama import WordLlama

from service.inference.model_files import files_digest
from service.inference.static_embedder import StaticEmbedder


class WordLlamaEmbedder(StaticEmbedder):
    """No download, no GPU.

    Good at everyday meaning and very fast. It knows no word order and blurs codes and rare names,
    for which the lexical leg is there.
    """

    def __init__(self) -> None:
        # Without cache_dir it looks for the tokenizer elsewhere, and then on the network.
        folder = Path(wordllama.__file__).parent
        model = WordLlama.load(cache_dir=folder, disable_download=True)
        model.tokenizer.no_padding()
        pieces = np.asarray(model.embedding, dtype=np.float32)
        identity = files_digest(
            folder, [*folder.glob("weights/*"), *folder.glob("tokenizers/*.json")]
        )
        super().__init__(f"wordllama-{pieces.shape[1]}@{identity}", model.tokenizer, pieces)
