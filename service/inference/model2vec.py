"""Static embedding models in the format of the `model2vec` package, from a folder or the hub."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from service.inference.model_files import import_optional, load_model
from service.inference.static_embedder import StaticEmbedder


def model2vec_embedder(setting: str, model: str) -> StaticEmbedder:
    """Load a model; `setting` is the name of the setting, for errors."""
    library = import_optional("model2vec", setting, "model2vec")

    def load(folder: Path) -> StaticEmbedder:
        static = library.StaticModel.from_pretrained(folder, force_download=False)
        ids = max(static.tokenizer.get_vocab().values()) + 1
        rows = np.arange(ids) if static.token_mapping is None else static.token_mapping[:ids]
        token_vectors = static.embedding.astype(np.float32)[rows]
        if static.weights is not None:
            token_vectors *= static.weights[:ids, np.newaxis].astype(np.float32)
        static.tokenizer.no_padding()  # its limit of tokens stays
        return StaticEmbedder("", static.tokenizer, token_vectors, static.unk_token_id)

    embedder, identity = load_model(setting, model, load)
    embedder.name = f"model2vec-{embedder.dimension}@{identity}"
    return embedder
