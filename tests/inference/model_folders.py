"""Creates tiny models and saves them with the methods of their libraries."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

WORDS = ["[PAD]", "[UNK]", "cat", "dog", "pump", "drain", "bread", "soft", "the", "is"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def needs_transformers() -> None:
    """Skips the test without transformers, which is too large for CI."""
    if importlib.util.find_spec("sentence_transformers") is None:
        pytest.skip("sentence-transformers is not installed: it needs torch, a gigabyte")


def model2vec_folder(folder: Path, seed: int = 1, dimension: int = 8) -> Path:
    from model2vec import StaticModel  # noqa: PLC0415 - it takes a second to import

    tokenizer = Tokenizer(WordLevel({word: id for id, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    vectors = np.random.default_rng(seed).normal(size=(len(WORDS), dimension)).astype(np.float32)
    StaticModel(vectors, tokenizer, normalize=True).save_pretrained(folder)
    return folder


def encoder_folder(folder: Path, *, prompts: dict[str, str] | None = None) -> Path:
    """A sentence encoder with random weights."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - not everywhere

    bert = _bert(folder / "bert", labels=None)
    SentenceTransformer(str(bert), device="cpu", prompts=prompts).save(str(folder / "made"))
    return folder / "made"


def cross_encoder_folder(folder: Path, *, labels: int = 1) -> Path:
    """A cross-encoder with random weights."""
    from sentence_transformers import CrossEncoder  # noqa: PLC0415 - not everywhere

    CrossEncoder(str(_bert(folder / "bert", labels)), device="cpu").save_pretrained(
        str(folder / "made")
    )
    return folder / "made"


def _bert(folder: Path, labels: int | None) -> Path:
    import torch  # noqa: PLC0415 - not everywhere
    import transformers  # noqa: PLC0415 - not everywhere

    torch.manual_seed(1)
    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(97, 123)]
    vocabulary = [*SPECIAL, *WORDS[2:], *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    shape: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    }
    if labels is None:
        model = transformers.BertModel(transformers.BertConfig(**shape))
    else:
        config = transformers.BertConfig(**shape, num_labels=labels)
        model = transformers.BertForSequenceClassification(config)
    model.save_pretrained(folder)
    transformers.BertTokenizerFast(
        vocab={word: id for id, word in enumerate(vocabulary)}, model_max_length=64
    ).save_pretrained(folder)
    return folder


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to
