"""The built-in reranker: no model weights of its own, some milliseconds for a hundred texts.

It scores the candidates as a group. The score of a text combines the similarity to the query with
BM25 over the candidates, plus a bonus for words that are adjacent in the query and close in the
text. Then each score moves towards those of the most similar candidates (the cluster hypothesis:
relevant texts resemble each other). Weights and measurements: docs/decisions/0008.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from service.inference.embedder import CorpusStatistics, Embedder, clean_text
from service.inference.reranker import RerankResult
from service.inference.static_embedder import StaticEmbedder
from service.inference.stemming import Stemmer

Scores = NDArray[np.float64]

MAX_TEXT_CHARS = 8_192
SEMANTIC_WEIGHT, LEXICAL_WEIGHT = 0.4, 0.6
PAIR_WEIGHT = 0.5  # relative to an equally rare word
MAX_PAIR_DISTANCE = 4  # words
NEIGHBOR_WEIGHT = 0.3
NEIGHBOR_SHARPNESS = 16.0  # how much more a closer neighbor counts
K1, B = 1.2, 0.75  # the usual parameters of BM25


class BuiltinReranker:
    """Scores are from 0 to 1 and comparable within one call only."""

    model = "builtin"
    max_documents = 200

    def __init__(
        self, embedder: Embedder, corpus: Callable[[], CorpusStatistics], language: str = "english"
    ) -> None:
        self._embedder = embedder
        self._corpus = corpus
        self._stemmer = Stemmer(language)

    async def rerank(self, query: str, documents: Sequence[str]) -> RerankResult:
        return await asyncio.to_thread(self._rank, query, documents)

    def _rank(self, query: str, documents: Sequence[str]) -> RerankResult:
        if not documents:
            return RerankResult([], 0)
        texts = [clean_text(text[:MAX_TEXT_CHARS]) for text in documents]
        corpus = self._corpus()
        vectors = self._embedder.embed(texts).astype(np.float64)
        semantic = vectors @ self._embedder.embed_query(query, corpus).astype(np.float64)
        lexical = self._lexical_scores(clean_text(query[:MAX_TEXT_CHARS]), texts, corpus)
        own = _z_scores(SEMANTIC_WEIGHT * _z_scores(semantic) + LEXICAL_WEIGHT * _z_scores(lexical))
        scores = 1 / (
            1 + np.exp(-own - NEIGHBOR_WEIGHT * _z_scores(_neighbor_scores(own, vectors)))
        )
        order = np.argsort(-scores, kind="stable")  # equal scores keep their order
        return RerankResult([(int(index), float(scores[index])) for index in order], 0)

    def _lexical_scores(self, query: str, texts: Sequence[str], corpus: CorpusStatistics) -> Scores:
        """Return BM25 scores over the candidates, with a bonus for pairs of words."""
        words_by_stem = self._stemmer.words_by_stem(query)
        query_stems = self._stemmer.stems(query)
        counts = Counter(query_stems)
        position = {word: column for column, word in enumerate(counts)}
        adjacent = {frozenset(pair) for pair in pairwise(query_stems) if pair[0] != pair[1]}
        term_counts = np.zeros((len(texts), len(counts)))
        lengths = np.zeros(len(texts))
        pairs: list[set[frozenset[str]]] = []
        for row, text in enumerate(texts):
            words = self._stemmer.stems(text)
            lengths[row] = len(words)
            positions = [(at, word) for at, word in enumerate(words) if word in position]
            for _, word in positions:
                term_counts[row, position[word]] += 1
            close = {
                frozenset((word, following))
                for (at, word), (then, following) in pairwise(positions)
                if then - at <= MAX_PAIR_DISTANCE
            }
            pairs.append(close & adjacent)
        idf = self._idf([words_by_stem[word] for word in counts], term_counts, corpus)
        norm = K1 * (1 - B + B * lengths / max(lengths.mean(), 1.0))
        saturated = term_counts * (K1 + 1) / (term_counts + norm[:, np.newaxis] + 1e-9)
        bonus = [sum(min(idf[position[word]] for word in pair) for pair in each) for each in pairs]
        scores: Scores = saturated @ (idf * np.array(list(counts.values()), dtype=np.float64))
        return scores + PAIR_WEIGHT * np.array(bonus)

    def _idf(self, words: Sequence[str], term_counts: Scores, corpus: CorpusStatistics) -> Scores:
        """Return the idf of each word among the candidates, plus that in the corpus if known."""
        found = (term_counts > 0).sum(axis=0)
        idf: Scores = np.log1p((len(term_counts) - found + 0.5) / (found + 0.5))
        if isinstance(self._embedder, StaticEmbedder) and corpus.texts > 0 and words:
            idf += self._embedder.rarity(words, corpus)
        return idf


def _neighbor_scores(own: Scores, vectors: Scores) -> Scores:
    """Return the mean score of the other texts, weighted by their similarity to each text."""
    weights = np.exp(NEIGHBOR_SHARPNESS * (vectors @ vectors.T - 1))
    np.fill_diagonal(weights, 0.0)
    totals = weights.sum(axis=1)
    mean: Scores = np.divide(weights @ own, totals, out=np.zeros_like(own), where=totals > 0)
    return mean


def _z_scores(values: Scores) -> Scores:
    """Return z-scores, all zero if the values are equal."""
    deviation = values.std()
    if deviation < 1e-9:  # noqa: PLR2004 - the rounding error of equal values
        return np.zeros_like(values)
    z_scores: Scores = (values - values.mean()) / deviation
    return z_scores
