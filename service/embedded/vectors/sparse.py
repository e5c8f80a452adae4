"""The sparse view: raw sparse vectors of one field, found by their dot product with a question.

Knows nothing of texts or records, only of document numbers and vectors; it is a view of the
store's log. What is new comes as a small piece of an inverted index; small pieces are merged into
larger ones. Pieces never change and are put in place all at once, so that a search needs no lock,
and goes on over the old ones while new ones are made.

Every document that has an index in common with the question is scored, so the answer is exact. A
document that has none is not found, whatever was asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
from pyroaring import BitMap

from service.embedded.storage.checkpoint_files import CheckpointFiles
from service.embedded.vectors.docnos import Docnos, top_k
from service.embedded.vectors.postings import (
    Indices,
    PostingsSegment,
    Values,
    build_segment,
    dump_segment,
    load_segments,
    merge_segments,
)

GROWTH = 3  # a piece has so many times the entries of the next one, or they are merged
LARGEST = 8_000_000  # entries; merging so many takes a second or two, and 300 MB for that time
PORTION = 1_000
INDEX_LIMIT = 1 << 32
LARGEST_VALUE = np.finfo(np.float32).max


def pack(indices: Sequence[int] | Indices, values: Sequence[float] | Values) -> bytes:
    """A sparse vector as it is stored: its indices in ascending order, then their values."""
    if len(indices) != len(values):
        raise ValueError("a sparse vector has as many values as indices")
    if not len(indices):
        return b""
    numbers, exact = np.asarray(indices), np.asarray(values)
    kinds = numbers.dtype.kind in "iu" and exact.dtype.kind in "iuf"
    if not kinds or numbers.ndim != 1 or exact.ndim != 1:
        raise ValueError("a sparse vector has whole numbers as indices and numbers as values")
    if not 0 <= numbers.min() <= numbers.max() < INDEX_LIMIT:
        raise ValueError("an index of a sparse vector is from 0 to 4294967295")
    if not np.all(np.abs(exact) <= LARGEST_VALUE):  # nor is what is no number
        raise ValueError("a value of a sparse vector is a finite 32-bit number")
    order = np.argsort(numbers)
    if np.any(numbers[order][1:] == numbers[order][:-1]):
        raise ValueError("an index stands only once in a sparse vector")
    return numbers[order].astype("<u4").tobytes() + exact[order].astype("<f4").tobytes()


def unpack(raw: bytes) -> tuple[Indices, Values]:
    """What was packed."""
    if len(raw) % 8:
        raise ValueError("this is not a packed sparse vector")
    half = len(raw) // 2
    indices = np.frombuffer(raw[:half], dtype="<u4")
    if np.any(indices[1:] <= indices[:-1]):
        raise ValueError("this is not a packed sparse vector")
    return indices, np.frombuffer(raw[half:], dtype="<f4")


class SparseIndex:
    """Sparse vectors by docno. `saved_seq` is the change up to which a saved view is complete."""

    def __init__(self, folder: Path) -> None:
        self._files = CheckpointFiles(folder, ".sparse", "sparse")
        self._writing = threading.Lock()
        self._saving = threading.Lock()
        self._pieces: tuple[PostingsSegment, ...] = ()
        self.saved_seq = 0

    def __len__(self) -> int:
        return sum(len(piece) for piece in self._pieces)

    def load(self) -> bool:
        """Take up the newest saved state; False where there is none that can be used."""
        for seq, content in self._files.read():
            pieces = tuple(load_segments(content))
            with self._writing:
                self._pieces, self.saved_seq = pieces, seq
            return True
        return False

    def save(self, seq: int) -> None:
        """Write the state after `seq`; nothing waits for it."""
        with self._saving:
            with self._writing:
                pieces = self._pieces
            self._files.write(seq, chain.from_iterable(dump_segment(piece) for piece in pieces))
            self.saved_seq = seq

    def apply(self, added: Iterable[tuple[int, bytes]], removed: Iterable[int]) -> None:
        """Add and remove vectors; doing it again changes nothing."""
        gone = np.unique(np.fromiter(removed, dtype=np.uint32))
        with self._writing:
            if len(gone):
                self._pieces = tuple(_tidied([each.without(gone) for each in self._pieces]))
            remaining = iter(added)
            while portion := dict(islice(remaining, PORTION)):
                fresh = self._fresh(np.array(list(portion), dtype=np.uint32))
                if len(fresh):
                    vectors = [(docno, *unpack(portion[docno])) for docno in fresh.tolist()]
                    self._pieces = tuple(_tidied([*self._pieces, build_segment(vectors)]))

    def search(
        self,
        indices: Sequence[int] | Indices,
        values: Sequence[float] | Values,
        k: int,
        among: BitMap | None = None,
    ) -> list[tuple[int, float]]:
        """The documents with the largest dot products, best first; `among` restricts them."""
        asked = unpack(pack(indices, values))
        pieces = self._pieces
        if k < 1 or not pieces or (among is not None and not among):
            return []
        chosen = None if among is None else np.frombuffer(among.to_array(), dtype=np.uint32)
        found = [piece.products(*asked, chosen) for piece in pieces]
        docnos = np.concatenate([each for each, _ in found])
        products = np.concatenate([each for _, each in found])
        return top_k(docnos, products, k)

    def _fresh(self, docnos: Docnos) -> Docnos:
        for piece in self._pieces:
            docnos = docnos[~piece.has(docnos)]
        return docnos


def _tidied(pieces: list[PostingsSegment]) -> list[PostingsSegment]:
    """Few pieces, of which none is mostly of removed documents."""
    kept = []
    for piece in pieces:
        left = len(piece)
        if left:
            kept.append(merge_segments([piece]) if 2 * left < len(piece.docnos) else piece)
    while len(kept) > 1 and _belong_together(kept[-2], kept[-1]):
        kept[-2:] = [merge_segments(kept[-2:])]
    return kept


def _belong_together(larger: PostingsSegment, smaller: PostingsSegment) -> bool:
    entries = len(larger.rows) + len(larger.docnos), len(smaller.rows) + len(smaller.docnos)
    return entries[0] <= GROWTH * entries[1] and sum(entries) <= LARGEST
