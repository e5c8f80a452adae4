"""Built-in reranker: relevance and robustness."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.inference.builtin_reranker import BuiltinReranker
from service.inference.embedder import CorpusStatistics
from service.inference.models import open_embedder, open_reranker
from service.inference.static_embedder import wordllama_embedder
from tests.inference.model_folders import encoder_folder, needs_transformers

EMBEDDER = wordllama_embedder()
TEXTS = [
    "Keep bread in a cloth so that it stays soft",
    "Code E81: the door is not closed",
    "Woollen jumpers felt and shrink in a hot wash",
    "Code E18: the drain pump is blocked",
    "The pump of a heat exchanger, and how it is drained before winter",
    "Polish brass with lemon and salt",
]


def reranker() -> BuiltinReranker:
    corpus = CorpusStatistics()
    EMBEDDER.count(TEXTS, corpus, 1)
    return BuiltinReranker(EMBEDDER, lambda: corpus)


async def best(query: str, texts: list[str]) -> str:
    return texts[(await reranker().rerank(query, texts)).order[0][0]]


@pytest.mark.parametrize(
    ("query", "first"),
    [("E81", 1), ("what does e18 mean", 3), ("my sweater got too small", 2), ("bread", 0)],
)
async def test_rerank_finds_codes_and_meanings(query: str, first: int) -> None:
    assert await best(query, TEXTS) == TEXTS[first]


async def test_rerank_prefers_adjacent_query_words() -> None:
    apart = "The pump was quiet that summer while nobody at all looked at the long old drain"
    together = "That summer nobody at all looked at the long old drain pump while it was quiet"
    assert await best("drain pump", [apart, together]) == together
    assert await best("drain pump", [together, apart]) == together


async def test_rerank_raises_text_similar_to_relevant_ones() -> None:
    texts = [
        "Xq81 means that the oven door is open, see page 3",
        "Xq81 means that the oven door is open, see page 4",
        "Wool shrinks in hot wash water",  # the nearest to the question, were it judged alone
        "The oven door is open",
    ]
    for company, first in ((texts, 3), (["Polish brass", *texts[2:]], 1)):
        order = [index for index, _ in (await reranker().rerank("Xq81 clothes", company)).order]
        without_the_word = [index for index in order if "Xq81" not in company[index]]
        assert without_the_word[0] == first


@pytest.mark.parametrize("language", ["german", "finnish", "greek", "tamil"])
async def test_rerank_stems_words_of_other_languages(language: str) -> None:
    query, texts = {
        "german": ("Häuser", ["Der Hund bellt", "Das Haus an der Ecke"]),
        "finnish": ("koirat", ["Talo on kulmassa", "Koira haukkuu"]),
        "greek": ("σπίτια", ["Ο σκύλος γαβγίζει", "Το σπίτι στη γωνία"]),
        "tamil": ("வீடு", ["நாய் குரைக்கிறது", "மூலையில் வீடு"]),
    }[language]
    found = await BuiltinReranker(EMBEDDER, CorpusStatistics, language).rerank(query, texts)
    assert found.order[0][0] == 1


async def test_rerank_handles_no_one_and_equal_texts() -> None:
    assert (await reranker().rerank("bread", [])).order == []
    assert (await reranker().rerank("bread", ["bread"])).order == [(0, 0.5)]
    assert (await reranker().rerank("bread", ["bread"] * 3)).order == [(0, 0.5), (1, 0.5), (2, 0.5)]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=30), st.lists(st.text(st.characters()), max_size=8))
async def test_rerank_scores_any_text_once_from_0_to_1(query: str, texts: list[str]) -> None:
    order = (await reranker().rerank(query, [*texts, "\ud800", "the the", "漢字 and ไทย"])).order
    assert sorted(index for index, _ in order) == list(range(len(texts) + 3))
    scores = [score for _, score in order]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


async def test_rerank_truncates_long_texts() -> None:
    order = (await reranker().rerank("bread", ["dog " * 300_000 + "bread", "bread"])).order
    assert order[0][0] == 1


async def test_rerank_uses_embedder_of_index(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    needs_transformers()
    folder = encoder_folder(tmp_path_factory.mktemp("encoder"))
    found = open_reranker(
        "builtin", open_embedder(f"sentence-transformers:{folder}"), CorpusStatistics
    )
    assert found is not None
    assert (await found.rerank("E81", TEXTS)).order[0][0] == 1
