"""Embedders and corpus statistics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.inference.embedder import CorpusStatistics, Embedder
from service.inference.models import open_embedder
from tests.inference.model_folders import (
    copied,
    encoder_folder,
    model2vec_folder,
    needs_transformers,
)

KINDS = ["wordllama", "model2vec", "sentence-transformers"]
HARD = [
    "the \ud800 cat",
    "\udfff",
    "cat\x00dog",
    "\x00",
    "🐈" * 50,
    "cat " * 250_000,
    "x" * 1_000_000,
]


@pytest.fixture(scope="module", params=KINDS)
def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder = tmp_path_factory.mktemp("models")
    if request.param == "wordllama":
        return open_embedder("wordllama")
    if request.param == "model2vec":
        return open_embedder(f"model2vec:{model2vec_folder(folder / 'static')}")
    needs_transformers()
    return open_embedder(f"sentence-transformers:{encoder_folder(folder)}")


def test_embed_returns_unit_vectors_and_zeros_for_empty_texts(
    embedder: Embedder,
) -> None:
    vectors = embedder.embed(["the cat", "", " \n\t", "dog"])
    assert vectors.shape == (4, embedder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 0, 1], atol=1e-5)
    assert not embedder.embed_query("", CorpusStatistics()).any()
    assert not embedder.embed_query(" ", CorpusStatistics()).any()
    assert embedder.embed([]).shape == (0, embedder.dimension)


def test_embed_accepts_any_string(embedder: Embedder) -> None:
    corpus = CorpusStatistics()
    embedder.count(HARD, corpus, 1)
    vectors = embedder.embed(HARD)
    assert np.isfinite(vectors).all()
    for text in HARD:
        assert np.isfinite(embedder.embed_query(text, corpus)).all()


def test_embed_does_not_depend_on_other_texts(embedder: Embedder) -> None:
    texts = [f"the cat is {'soft ' * (i % 7)}{i}" for i in range(150)]
    together = embedder.embed(texts)
    assert together.shape == (150, embedder.dimension)
    for i in (0, 63, 64, 149):
        np.testing.assert_allclose(embedder.embed([texts[i]])[0], together[i], atol=1e-5)


def test_embed_is_thread_safe(embedder: Embedder) -> None:
    texts = [f"the {word} is soft" for word in ("cat", "dog", "pump", "bread")] * 5
    alone = embedder.embed(texts)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: embedder.embed(texts), range(24)):
            np.testing.assert_allclose(found, alone, atol=1e-5)


def test_embed_query_weights_common_words_less() -> None:
    embedder = open_embedder("wordllama")
    corpus = CorpusStatistics()
    embedder.count(["pump"] * 99 + ["bread"], corpus, 1)
    pump, bread = embedder.embed(["pump", "bread"])
    query = embedder.embed_query("pump bread", corpus)
    assert query @ bread > query @ pump + 0.3


@pytest.mark.parametrize("embedded_before", [True, False])
def test_count_with_negative_sign_undoes_count(embedded_before: bool) -> None:
    embedder = open_embedder("wordllama")
    texts = ["the cat", "the dog", "the dog", "", "long " * 3_000]
    corpus = CorpusStatistics()
    if embedded_before:
        embedder.embed(texts)
    embedder.count(texts, corpus, 1)
    assert corpus.texts == 5
    assert corpus.frequencies(np.arange(40_000)).max() == 3
    embedder.count(texts, corpus, -1)
    assert corpus.texts == 0
    assert not corpus.frequencies(np.arange(40_000)).any()


def test_model2vec_embedder_equals_library(tmp_path: Path) -> None:
    from model2vec import StaticModel  # noqa: PLC0415 - it takes a second to import

    folder = model2vec_folder(tmp_path / "model")
    texts = ["the cat", "soft bread of the dog", "nothing known", "is " * 600 + "cat"]
    expected = StaticModel.from_pretrained(folder).encode(texts)
    found = open_embedder(f"model2vec:{folder}").embed(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_embedder_name_depends_on_weights_not_folder(tmp_path: Path) -> None:
    first = model2vec_folder(tmp_path / "first")
    elsewhere = copied(first, tmp_path / "elsewhere")
    other = model2vec_folder(tmp_path / "other", seed=2)
    names = [open_embedder(f"model2vec:{each}").name for each in (first, elsewhere, other)]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("model2vec-8@")
    assert str(tmp_path) not in names[0]
    (elsewhere / "README.md").write_text("Another word about it")
    assert open_embedder(f"model2vec:{elsewhere}").name == names[0]


def test_sentence_transformer_uses_prompts(tmp_path: Path) -> None:
    needs_transformers()
    folder = encoder_folder(tmp_path, prompts={"query": "the cat is ", "document": ""})
    embedder = open_embedder(f"sentence-transformers:{folder}")
    (document,) = embedder.embed(["the cat is soft"])
    np.testing.assert_allclose(
        embedder.embed_query("soft", CorpusStatistics()), document, atol=1e-5
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 300), max_size=9), max_size=9), st.data())
def test_corpus_statistics_round_trip_detects_damage(
    texts: list[list[int]], data: st.DataObject
) -> None:
    corpus = CorpusStatistics()
    corpus.add([np.array(sorted(set(text)), dtype=np.int64) for text in texts], 1)
    raw = corpus.to_bytes()
    again = CorpusStatistics.from_bytes(raw)
    assert again.texts == len(texts)
    ids = np.arange(301)
    np.testing.assert_array_equal(again.frequencies(ids), corpus.frequencies(ids))
    np.testing.assert_array_equal(
        again.frequencies(ids), [sum(id in text for text in texts) for id in ids]
    )
    at = data.draw(st.integers(0, len(raw) - 1))
    for damaged in (raw[:at], raw + b"\0", raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]):
        with pytest.raises(ValueError, match="corpus statistics"):
            CorpusStatistics.from_bytes(damaged)


def test_corpus_statistics_are_thread_safe() -> None:
    embedder = open_embedder("wordllama")
    corpus = CorpusStatistics()
    stop = threading.Event()

    def read() -> Iterator[int]:
        while not stop.is_set():
            embedder.embed_query("the cat", corpus)
            yield CorpusStatistics.from_bytes(corpus.to_bytes()).texts

    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(lambda: list(read()))
        try:
            for i in range(40):
                embedder.count([f"the cat {i}"], corpus, 1)
        finally:
            stop.set()
        counted = reading.result()
    assert counted == sorted(counted)
    assert corpus.texts == 40
