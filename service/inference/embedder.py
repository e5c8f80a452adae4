"""The interface of embedders, and the corpus statistics with which they may weight queries."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Vectors = NDArray[np.float32]
TokenIds = NDArray[np.int64]

MAX_TEXT_CHARS = 65_536  # the rest of a text is ignored
_HEAD = struct.Struct("<8sqq")
_MAGIC = b"corpus 1"


class Embedder(Protocol):
    """Embeds texts as vectors of unit length; a text without content has a vector of zeros.

    Thread-safe. Any string is accepted, even empty, with NUL or lone surrogates, or megabytes long.
    A text is truncated to `MAX_TEXT_CHARS`, and then to the limit of the model.
    """

    @property
    def name(self) -> str:
        """Identifies the model: vectors of embedders with different names can't be compared."""
        ...

    @property
    def dimension(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors: ...

    def embed_query(self, text: str, corpus: CorpusStatistics) -> Vector:
        """Embed a query, which may be weighted by what is common in the corpus."""
        ...

    def count(self, texts: Sequence[str], corpus: CorpusStatistics, sign: int) -> None:
        """Add texts to the statistics (`sign` 1) or remove them (`sign` -1)."""
        ...


class CorpusStatistics:
    """Document frequencies: in how many texts each token occurs. Stored vectors do not use them.

    One thread may write while others read. They may see a text counted in part, which changes a
    weight only slightly.
    """

    def __init__(self) -> None:
        self.texts = 0
        self._frequencies: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._writing = threading.Lock()

    def add(self, texts: Sequence[TokenIds], sign: int) -> None:
        """Count texts, each given as its distinct tokens; `sign` is 1, or -1 to remove them."""
        with self._writing:
            if texts:
                counted = sign * np.bincount(
                    np.concatenate(texts), minlength=len(self._frequencies)
                )
                counted[: len(self._frequencies)] += self._frequencies
                self._frequencies = counted  # replaced at once, for readers
            self.texts += sign * len(texts)

    def frequencies(self, tokens: TokenIds) -> NDArray[np.int64]:
        """Return the number of texts in which each of these tokens occurs."""
        counts = self._frequencies
        known = tokens < len(counts)
        return np.where(known, counts[np.where(known, tokens, 0)] if len(counts) else 0, 0)

    def to_bytes(self) -> bytes:
        """Serialize the statistics."""
        with self._writing:
            head = _HEAD.pack(_MAGIC, self.texts, len(self._frequencies))
            body = head + self._frequencies.astype("<i8").tobytes()
        return body + zlib.crc32(body).to_bytes(4, "little")

    @classmethod
    def from_bytes(cls, raw: bytes) -> CorpusStatistics:
        """Load the output of `to_bytes`; raises ValueError for anything else."""
        body, checksum = raw[:-4], raw[-4:]
        if len(body) < _HEAD.size or zlib.crc32(body).to_bytes(4, "little") != checksum:
            raise ValueError("these corpus statistics are damaged")
        magic, texts, length = _HEAD.unpack_from(body)
        if magic != _MAGIC or len(body) != _HEAD.size + 8 * length:
            raise ValueError("these corpus statistics have another format")
        corpus = cls()
        corpus.texts = texts
        corpus._frequencies = np.frombuffer(body, "<i8", offset=_HEAD.size).astype(np.int64)
        return corpus


def clean_text(text: str) -> str:
    """Truncate a text, and replace lone surrogates, which UTF-8 does not allow."""
    text = text[:MAX_TEXT_CHARS]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def normalize(vectors: Vectors) -> Vectors:
    """Scale vectors to length one. Zero vectors stay zero, and NaN and infinity become zero."""
    vectors = np.nan_to_num(vectors, posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled
