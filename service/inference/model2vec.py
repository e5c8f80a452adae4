"""Static models in the form of the `model2vec` package: distilled from larger ones, from a folder
or the hub. The package reads the files; what is done with them is `static.py`'s."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from service.inference.model_files import import_optional, load_model
from service.inference.static_embedder import StaticEmbedder


def model2vec_embedder(setting: str, model: str) -> StaticEmbedder:
    """`setting` names what it was asked for by, in errors."""
    library = import_optional("model2vec", setting, "model2vec")

    def load(folder: Path) -> StaticEmbedder:
        static = library.StaticModel.from_pretrained(folder, force_download=False)
        ids = max(static.tokenizer.get_vocab().values()) + 1
        rows = np.arange(ids) if static.token_mapping is None else static.token_mapping[:ids]
        pieces = static.embedding.astype(np.float32)[rows]
        if static.weights is not None:
            pieces *= static.weights[:ids, np.newaxis].astype(np.float32)
        static.tokenizer.no_padding()  # its own limit of pieces stays
        return StaticEmbedder("", static.tokenizer, pieces, static.unk_token_id)

    embedder, identity = load_model(setting, model, load)
    embedder.name = f"model2vec-{embedder.dimension}@{identity}"
    return embedder
