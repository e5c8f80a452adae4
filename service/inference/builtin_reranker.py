"""The built-in reranker: no weights of its own, a few milliseconds for a hundred texts.

It looks at the candidates together, which no leg can do. A text's own score is made of its
likeness to the query and of the query's words in it: rare ones among the candidates and in the
corpus count more, and so do two that follow each other in the query and stand close in the text.
Then each text is moved towards what the texts most like it have: what answers a question tends to
come in company. Weights and their measurement: docs/decisions/0008.

It knows the texts alone, not which leg found them, where or how high.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from service.inference.embedder import CorpusStatistics, Embedder, truncate_text
from service.inference.reranker import RerankResult
from service.inference.static_embedder import StaticEmbedder
from service.inference.stemming import Stemmer

Scores = NDArray[np.float64]

READ_CHARS = 8_192  # of one text
MEANING, WORDS = 0.4, 0.6
PAIRS = 0.5  # of what a word as rare would be worth
NEAR = 4  # words apart at most
COMPANY = 0.3
CLOSENESS = 16.0  # how much more a closer neighbour counts
SATURATION, LENGTH = 1.2, 0.75  # the usual k1 and b of BM25


class BuiltinReranker:
    """Scores lie between 0 and 1, and compare a text with the others of the same call."""

    model = "builtin"
    max_documents = 200

    def __init__(
        self, embedder: Embedder, corpus: Callable[[], CorpusStatistics], language: str = "english"
    ) -> None:
        self._embedder = embedder
        self._corpus = corpus
        self._words = Stemmer(language)

    async def rerank(self, query: str, documents: Sequence[str]) -> RerankResult:
        return await asyncio.to_thread(self._rank, query, documents)

    def _rank(self, query: str, documents: Sequence[str]) -> RerankResult:
        if not documents:
            return RerankResult([], 0)
        texts = [truncate_text(text[:READ_CHARS]) for text in documents]
        corpus = self._corpus()
        vectors = self._embedder.embed(texts).astype(np.float64)
        meaning = vectors @ self._embedder.embed_query(query, corpus).astype(np.float64)
        words = self._word_scores(truncate_text(query[:READ_CHARS]), texts, corpus)
        own = _standard(MEANING * _standard(meaning) + WORDS * _standard(words))
        scores = 1 / (1 + np.exp(-own - COMPANY * _standard(_company(own, vectors))))
        order = np.argsort(-scores, kind="stable")  # equals keep the order that they came in
        return RerankResult([(int(index), float(scores[index])) for index in order], 0)

    def _word_scores(self, query: str, texts: Sequence[str], corpus: CorpusStatistics) -> Scores:
        """BM25 over the candidates, and a bonus for pairs of words."""
        written = self._words.written(query)
        asked = self._words.of(query)
        counts = Counter(asked)
        position = {word: column for column, word in enumerate(counts)}
        neighbours = {frozenset(pair) for pair in pairwise(asked) if pair[0] != pair[1]}
        having = np.zeros((len(texts), len(counts)))
        lengths = np.zeros(len(texts))
        pairs: list[set[frozenset[str]]] = []
        for row, text in enumerate(texts):
            words = self._words.of(text)
            lengths[row] = len(words)
            places = [(at, word) for at, word in enumerate(words) if word in position]
            for _, word in places:
                having[row, position[word]] += 1
            close = {
                frozenset((word, following))
                for (at, word), (then, following) in pairwise(places)
                if then - at <= NEAR
            }
            pairs.append(close & neighbours)
        idf = self._idf([written[word] for word in counts], having, corpus)
        norm = SATURATION * (1 - LENGTH + LENGTH * lengths / max(lengths.mean(), 1.0))
        saturated = having * (SATURATION + 1) / (having + norm[:, np.newaxis] + 1e-9)
        bonus = [sum(min(idf[position[word]] for word in pair) for pair in each) for each in pairs]
        scores: Scores = saturated @ (idf * np.array(list(counts.values()), dtype=np.float64))
        return scores + PAIRS * np.array(bonus)

    def _idf(self, words: Sequence[str], having: Scores, corpus: CorpusStatistics) -> Scores:
        """How rare each word is among the candidates, and in the corpus where that is known."""
        found = (having > 0).sum(axis=0)
        idf: Scores = np.log1p((len(having) - found + 0.5) / (found + 0.5))
        if isinstance(self._embedder, StaticEmbedder) and corpus.texts > 0 and words:
            idf += self._embedder.rarity(words, corpus)
        return idf


def _company(own: Scores, vectors: Scores) -> Scores:
    """The mean score of the other texts, in which those that are much like a text count most."""
    weights = np.exp(CLOSENESS * (vectors @ vectors.T - 1))
    np.fill_diagonal(weights, 0.0)
    totals = weights.sum(axis=1)
    mean: Scores = np.divide(weights @ own, totals, out=np.zeros_like(own), where=totals > 0)
    return mean


def _standard(values: Scores) -> Scores:
    """z-scores; zeros where all are the same."""
    deviation = values.std()
    if deviation < 1e-9:  # noqa: PLR2004 - what rounding leaves of equal values
        return np.zeros_like(values)
    standard: Scores = (values - values.mean()) / deviation
    return standard
