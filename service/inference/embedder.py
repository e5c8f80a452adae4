"""What Cascade asks of an embedder, and the statistics that one may weigh a query by.

Knows no model: those are beside it, one a file, and `models.py` picks one by its setting.
"""

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
Pieces = NDArray[np.int64]

READ_CHARS = 65_536  # of one text; what stands behind has no part in its vector
_HEAD = struct.Struct("<8sqq")
_MAGIC = b"corpus 1"


class Embedder(Protocol):
    """Turns texts into vectors of unit length, or of zeros where a text has no content.

    Any thread may call it; calls take as long as they take, in batches of the embedder's own. Any
    string is a text: an empty one, one with NUL or half of a surrogate pair, one of megabytes. Of
    a long one the first `READ_CHARS` characters are read, and of those as much as the model takes.
    """

    @property
    def name(self) -> str:
        """What its vectors are called. With another name they can't be compared."""
        ...

    @property
    def dimension(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors: ...

    def embed_query(self, text: str, corpus: CorpusStatistics) -> Vector:
        """A query can be told what is common in the corpus that it is put to."""
        ...

    def count(self, texts: Sequence[str], corpus: CorpusStatistics, by: int) -> None:
        """Enter texts into the corpus's statistics (`by` 1), or take them out (-1)."""
        ...


class CorpusStatistics:
    """In how many texts each word piece stands. Stored vectors never depend on it.

    One thread may write while others read: they may find a text half counted, which moves a weight
    by less than can be noticed.
    """

    def __init__(self) -> None:
        self.texts = 0
        self._seen: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._writing = threading.Lock()

    def enter(self, texts: Sequence[Pieces], by: int) -> None:
        """Each text as the pieces that stand in it, each piece once."""
        with self._writing:
            if texts:
                counted = by * np.bincount(np.concatenate(texts), minlength=len(self._seen))
                counted[: len(self._seen)] += self._seen
                self._seen = counted  # readers have the old or the new one, whole
            self.texts += by * len(texts)

    def seen(self, pieces: Pieces) -> NDArray[np.int64]:
        """In how many texts each of these pieces stands."""
        seen = self._seen
        known = pieces < len(seen)
        return np.where(known, seen[np.where(known, pieces, 0)] if len(seen) else 0, 0)

    def to_bytes(self) -> bytes:
        """All of it, to be kept beside the vectors of the same embedder."""
        with self._writing:
            head = _HEAD.pack(_MAGIC, self.texts, len(self._seen))
            body = head + self._seen.astype("<i8").tobytes()
        return body + zlib.crc32(body).to_bytes(4, "little")

    @classmethod
    def from_bytes(cls, raw: bytes) -> CorpusStatistics:
        """What `to_bytes` gave; a ValueError if it is anything else."""
        body, checksum = raw[:-4], raw[-4:]
        if len(body) < _HEAD.size or zlib.crc32(body).to_bytes(4, "little") != checksum:
            raise ValueError("these corpus statistics are damaged")
        magic, texts, length = _HEAD.unpack_from(body)
        if magic != _MAGIC or len(body) != _HEAD.size + 8 * length:
            raise ValueError("these are no corpus statistics of this version")
        corpus = cls()
        corpus.texts = texts
        corpus._seen = np.frombuffer(body, "<i8", offset=_HEAD.size).astype(np.int64)
        return corpus


def truncate_text(text: str) -> str:
    """The part of a text that is read. Half of a surrogate pair is a character to Python alone."""
    text = text[:READ_CHARS]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def normalize(vectors: Vectors) -> Vectors:
    """The same directions with length one; zeros stay zeros, and what is no number becomes zero."""
    vectors = np.nan_to_num(vectors, posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled
