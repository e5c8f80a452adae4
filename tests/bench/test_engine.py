"""bench.engine: its corpus, true answers, loop lag and tables."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from bench.engine import corpus
from bench.engine.corpus import SELECTIVITIES, Corpus, Vectors
from bench.engine.lag import LoopLag
from bench.engine.tables import markdown

DIMENSION = 8


def embed(texts: Sequence[str]) -> Vectors:
    """Returns a vector that depends on the text only and is unique to it.

    Equal vectors would tie, so that either could be a true answer.
    """
    seeds = [int.from_bytes(sha256(text.encode()).digest()) for text in texts]
    return np.stack([np.random.default_rng(s).normal(size=DIMENSION) for s in seeds]).astype("f4")


def embed_questions(texts: Sequence[str], _: Iterator[Sequence[str]]) -> Vectors:
    return embed(texts)


def make_corpus(folder: Path) -> Corpus:
    return corpus.make(folder, 10_000, 5, embed, embed_questions, time.perf_counter)


@pytest.fixture(scope="module")
def corpus_10k(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "one")


def test_corpus_is_deterministic(corpus_10k: Corpus, tmp_path: Path) -> None:
    repeated = make_corpus(tmp_path / "again")
    assert next(repeated.batches(100)).texts == next(corpus_10k.batches(100)).texts
    assert [each.words for each in repeated.questions()] == [
        each.words for each in corpus_10k.questions()
    ]


def test_filter_selects_exact_share(corpus_10k: Corpus) -> None:
    fields = [each for batch in corpus_10k.batches(3_000) for each in batch.fields]
    for field, values in SELECTIVITIES.items():
        counts = Counter(each[field] for each in fields)
        assert set(counts.values()) == {10_000 // values}


def test_true_answers_equal_brute_force(corpus_10k: Corpus) -> None:
    (batch,) = corpus_10k.batches(10_000)
    fields = batch.fields
    unit = batch.vectors / np.linalg.norm(batch.vectors, axis=1, keepdims=True)
    for question in corpus_10k.questions():
        best = np.argsort(-(unit @ question.vector))
        for field in ("", *SELECTIVITIES):
            wanted = question.values.get(field)
            fits = [n for n in best.tolist() if not field or fields[n][field] == wanted][:10]
            assert {int(id) for id in question.truth[field]} == set(fits)


async def test_loop_lag_includes_block_before_exit() -> None:
    async with LoopLag() as lag:
        time.sleep(0.05)  # noqa: ASYNC251 - blocks on purpose
    assert lag.longest_ms > 40


def test_tables_name_engine_that_is_not_installed() -> None:
    size = {"text_mib": 1.0, "vectors_mib": 1.0, "embedded_per_s": 1.0, "engines": {}}
    text = markdown({"machine": "one", "versions": {"other": {}}, "sizes": {10_000: size}})
    assert "- other: not installed" in text
    assert "| other | not installed |" in text
