"""Static token vectors: a text is the mean of its word pieces, whatever their order.

Knows no model's files. The tokenizer and numpy let go of the GIL while they work; what holds it is
the handing over of ids, which chunks of a few tens of thousands of characters keep short.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from service.inference.embedder import (
    CorpusStatistics,
    Pieces,
    Vector,
    Vectors,
    normalize,
    truncate_text,
)

CHUNK_TEXTS = 64
CHUNK_CHARS = 32_768  # a text that is longer is a chunk of its own
REMEMBERED_CHARS = 4_194_304  # of texts; those that are embedded are counted soon after


class StaticEmbedder:
    """In a query, a word piece counts by the square root of its idf in the corpus."""

    def __init__(
        self, name: str, tokenizer: Tokenizer, pieces: Vectors, unknown: int | None = None
    ) -> None:
        """`pieces` has a row for each id of the tokenizer; the piece `unknown` is left out."""
        self.name = name
        self.dimension = int(pieces.shape[1])
        self._tokenizer = tokenizer
        self._pieces = np.ascontiguousarray(pieces, dtype=np.float32)
        self._unknown = unknown
        self._recent: dict[str, Pieces] = {}
        self._recent_chars = 0  # about: several threads count

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        done = 0
        for tokens in self._tokens(texts):
            for row, ids in enumerate(tokens, done):
                if ids:  # one by one: quicker than all at once with `reduceat`
                    vectors[row] = self._pieces[np.array(ids)].sum(axis=0)
            self._remember(texts[done : done + len(tokens)], tokens)
            done += len(tokens)
        return normalize(vectors)

    def embed_query(self, text: str, corpus: CorpusStatistics) -> Vector:
        ((pieces,),) = self._tokens([text])
        ids = np.array(pieces, dtype=np.int64)
        weights = np.ones(len(ids), dtype=np.float32)
        if corpus.texts > 0:
            weights = np.sqrt(np.log1p(corpus.texts / (corpus.seen(ids) + 0.5))).astype(np.float32)
        (vector,) = normalize((weights @ self._pieces[ids])[np.newaxis])
        return np.asarray(vector)

    def count(self, texts: Sequence[str], corpus: CorpusStatistics, by: int) -> None:
        recent = self._recent
        found = {text: pieces for text in texts if (pieces := recent.pop(text, None)) is not None}
        self._recent_chars -= sum(map(len, found))
        unseen = [text for text in texts if text not in found]
        corpus.enter([found[text] for text in texts if text in found], by)
        for tokens in self._tokens(unseen):
            corpus.enter([_once(ids) for ids in tokens], by)

    def rarity(self, words: Sequence[str], corpus: CorpusStatistics) -> NDArray[np.float64]:
        """The idf of each word, which is at least as rare in the corpus as its rarest piece."""
        each = [_once(ids) for tokens in self._tokens(words) for ids in tokens]
        having = np.array([corpus.seen(ids).min(initial=corpus.texts) for ids in each])
        idf: NDArray[np.float64] = np.log1p(
            (np.maximum(corpus.texts - having, 0) + 0.5) / (having + 0.5)
        )
        return idf

    def _remember(self, texts: Sequence[str], tokens: Sequence[list[int]]) -> None:
        """Cutting a text into pieces is most of the work: who embeds a text counts it next."""
        chars = sum(map(len, texts))
        if self._recent_chars + chars > REMEMBERED_CHARS:
            self._recent, self._recent_chars = {}, 0
        self._recent_chars += chars
        self._recent.update(zip(texts, map(_once, tokens), strict=True))

    def _tokens(self, texts: Sequence[str]) -> Iterator[list[list[int]]]:
        """The ids of each text, chunk by chunk; none of a text that is all spaces."""
        for chunk in _chunks(texts):
            encoded = self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
            yield [
                self._known(one.ids) if text else []
                for text, one in zip(chunk, encoded, strict=True)
            ]

    def _known(self, ids: list[int]) -> list[int]:
        if self._unknown is None or self._unknown not in ids:
            return ids
        return [id for id in ids if id != self._unknown]


def _once(ids: list[int]) -> Pieces:
    return np.array(list(set(ids)), dtype=np.int64)


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Every text in its turn, in lists of some that can be read; one of spaces as an empty one."""
    chunk: list[str] = []
    chars = 0
    for text in texts:
        read = truncate_text(text)
        read = "" if read.isspace() else read
        if chunk and (len(chunk) == CHUNK_TEXTS or chars + len(read) > CHUNK_CHARS):
            yield chunk
            chunk, chars = [], 0
        chunk.append(read)
        chars += len(read)
    if chunk:
        yield chunk
