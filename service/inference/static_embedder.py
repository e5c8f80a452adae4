"""Static token embeddings: the vector of a text is the mean of its token vectors.

The tokenizer and numpy release the GIL while they work. The conversion of token ids holds it, so
texts are processed in chunks of some ten thousand characters.

The token vectors come with the `wordllama` package, or from a model of the `model2vec` package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import wordllama
from numpy.typing import NDArray
from tokenizers import Tokenizer

from service.inference.embedder import (
    CorpusStatistics,
    TokenIds,
    Vector,
    Vectors,
    clean_text,
    normalize,
)
from service.inference.model_files import files_digest, import_optional, load_model

CHUNK_TEXTS = 64
CHUNK_CHARS = 32_768  # a longer text is a chunk of its own
CACHE_CHARS = 4_194_304  # of texts whose tokens are cached between `embed` and `count`


class StaticEmbedder:
    """Embeds with static vectors. In a query, tokens are weighted by the root of their idf."""

    def __init__(
        self, name: str, tokenizer: Tokenizer, token_vectors: Vectors, unknown: int | None = None
    ) -> None:
        """`token_vectors` has a row for each id of the tokenizer; the id `unknown` is ignored."""
        self.name = name
        self.dimension = int(token_vectors.shape[1])
        self._tokenizer = tokenizer
        self._token_vectors = np.ascontiguousarray(token_vectors, dtype=np.float32)
        self._unknown = unknown
        self._cache: dict[str, TokenIds] = {}
        self._cached_chars = 0  # approximate, as several threads count

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        done = 0
        for tokens in self._tokens(texts):
            for row, ids in enumerate(tokens, done):
                if ids:  # one by one, which is faster than `reduceat` over all
                    vectors[row] = self._token_vectors[np.array(ids)].sum(axis=0)
            self._cache_tokens(texts[done : done + len(tokens)], tokens)
            done += len(tokens)
        return normalize(vectors)

    def embed_query(self, text: str, corpus: CorpusStatistics) -> Vector:
        ((tokens,),) = self._tokens([text])
        ids = np.array(tokens, dtype=np.int64)
        weights = np.ones(len(ids), dtype=np.float32)
        if corpus.texts > 0:
            idf = np.log1p(corpus.texts / (corpus.frequencies(ids) + 0.5))
            weights = np.sqrt(idf).astype(np.float32)
        (vector,) = normalize((weights @ self._token_vectors[ids])[np.newaxis])
        return np.asarray(vector)

    def count(self, texts: Sequence[str], corpus: CorpusStatistics, sign: int) -> None:
        cache = self._cache
        found = {text: cached for text in texts if (cached := cache.pop(text, None)) is not None}
        self._cached_chars -= sum(map(len, found))
        unseen = [text for text in texts if text not in found]
        corpus.add([found[text] for text in texts if text in found], sign)
        for tokens in self._tokens(unseen):
            corpus.add([_distinct(ids) for ids in tokens], sign)

    def rarity(self, words: Sequence[str], corpus: CorpusStatistics) -> NDArray[np.float64]:
        """Return the idf of each word in the corpus, estimated from its rarest token."""
        each = [_distinct(ids) for tokens in self._tokens(words) for ids in tokens]
        frequencies = np.array([corpus.frequencies(ids).min(initial=corpus.texts) for ids in each])
        idf: NDArray[np.float64] = np.log1p(
            (np.maximum(corpus.texts - frequencies, 0) + 0.5) / (frequencies + 0.5)
        )
        return idf

    def _cache_tokens(self, texts: Sequence[str], tokens: Sequence[list[int]]) -> None:
        """Cache the tokens for `count`, which usually follows: tokenizing is most of the work."""
        chars = sum(map(len, texts))
        if self._cached_chars + chars > CACHE_CHARS:
            self._cache, self._cached_chars = {}, 0
        self._cached_chars += chars
        self._cache.update(zip(texts, map(_distinct, tokens), strict=True))

    def _tokens(self, texts: Sequence[str]) -> Iterator[list[list[int]]]:
        """Yield the token ids of each text, in chunks; a text of whitespace has none."""
        for chunk in _chunks(texts):
            encoded = self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
            yield [
                self._without_unknown(one.ids) if text else []
                for text, one in zip(chunk, encoded, strict=True)
            ]

    def _without_unknown(self, ids: list[int]) -> list[int]:
        if self._unknown is None or self._unknown not in ids:
            return ids
        return [id for id in ids if id != self._unknown]


def wordllama_embedder() -> StaticEmbedder:
    """Load the default model, which needs no download and no GPU.

    It ignores word order and is imprecise for codes and rare names, which the lexical leg covers.
    """
    # Without cache_dir, wordllama looks for the tokenizer elsewhere and on the network.
    folder = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    model.tokenizer.no_padding()
    token_vectors = np.asarray(model.embedding, dtype=np.float32)
    identity = files_digest(folder, [*folder.glob("weights/*"), *folder.glob("tokenizers/*.json")])
    name = f"wordllama-{token_vectors.shape[1]}@{identity}"
    return StaticEmbedder(name, model.tokenizer, token_vectors)


def model2vec_embedder(setting: str, model: str) -> StaticEmbedder:
    """Load a model from a folder or the hub; `setting` is the name of the setting, for errors."""
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


def _distinct(ids: list[int]) -> TokenIds:
    return np.array(list(set(ids)), dtype=np.int64)


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Split texts into chunks, with cleaned texts; whitespace becomes an empty text."""
    chunk: list[str] = []
    chars = 0
    for text in texts:
        cleaned = clean_text(text)
        cleaned = "" if cleaned.isspace() else cleaned
        if chunk and (len(chunk) == CHUNK_TEXTS or chars + len(cleaned) > CHUNK_CHARS):
            yield chunk
            chunk, chars = [], 0
        chunk.append(cleaned)
        chars += len(cleaned)
    if chunk:
        yield chunk
