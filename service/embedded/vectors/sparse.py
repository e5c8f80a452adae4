"""The index of sparse vectors: exact search by dot product.

It is a log-structured inverted index: each batch of changes adds a small segment, and small
segments are merged into larger ones. Segments are immutable and replaced all at once, so a search
needs no lock and keeps the segments that it started with.

Each document that has an index in common with the query is scored, so the result is exact. A
document that has none is not found.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
from pyroaring import BitMap

from service.embedded.storage.checkpoint_files import CheckpointFiles
from service.embedded.vectors.docnos import Docnos, best_scores
from service.embedded.vectors.postings import (
    Indices,
    PostingsSegment,
    Values,
    build_segment,
    dump_segment,
    load_segments,
    merge_segments,
)

GROWTH = 3  # segments are merged if one has fewer than this many times the entries of the next
MAX_ENTRIES = 8_000_000  # of a merged segment; merging so many takes 2 s and 300 MB
BATCH = 1_000
INDEX_LIMIT = 1 << 32
MAX_VALUE = np.finfo(np.float32).max


def pack(indices: Sequence[int] | Indices, values: Sequence[float] | Values) -> bytes:
    """Encode a sparse vector for the store: its sorted indices, then their values."""
    if len(indices) != len(values):
        raise ValueError("a sparse vector must have as many values as indices")
    if not len(indices):
        return b""
    numbers, exact = np.asarray(indices), np.asarray(values)
    kinds = numbers.dtype.kind in "iu" and exact.dtype.kind in "iuf"
    if not kinds or numbers.ndim != 1 or exact.ndim != 1:
        raise ValueError("a sparse vector must have integers as indices and numbers as values")
    if not 0 <= numbers.min() <= numbers.max() < INDEX_LIMIT:
        raise ValueError("an index of a sparse vector must be from 0 to 4294967295")
    if not np.all(np.abs(exact) <= MAX_VALUE):  # also rejects NaN
        raise ValueError("a value of a sparse vector must be a finite 32-bit number")
    order = np.argsort(numbers)
    if np.any(numbers[order][1:] == numbers[order][:-1]):
        raise ValueError("an index must not occur twice in a sparse vector")
    return numbers[order].astype("<u4").tobytes() + exact[order].astype("<f4").tobytes()


def unpack(raw: bytes) -> tuple[Indices, Values]:
    """Decode the output of `pack`."""
    if len(raw) % 8:
        raise ValueError("this is not a packed sparse vector")
    half = len(raw) // 2
    indices = np.frombuffer(raw[:half], dtype="<u4")
    if np.any(indices[1:] <= indices[:-1]):
        raise ValueError("this is not a packed sparse vector")
    return indices, np.frombuffer(raw[half:], dtype="<f4")


class SparseIndex:
    """Sparse vectors by docno. `saved_seq` is the sequence number of the last checkpoint."""

    def __init__(self, folder: Path) -> None:
        self._checkpoints = CheckpointFiles(folder, ".sparse", "sparse")
        self._writing = threading.Lock()
        self._saving = threading.Lock()
        self._segments: tuple[PostingsSegment, ...] = ()
        self.saved_seq = 0

    def __len__(self) -> int:
        return sum(len(segment) for segment in self._segments)

    def load(self) -> bool:
        """Load the newest valid checkpoint. Returns False if none is valid."""
        for seq, content in self._checkpoints.read():
            segments = tuple(load_segments(content))
            with self._writing:
                self._segments, self.saved_seq = segments, seq
            return True
        return False

    def save(self, seq: int) -> None:
        """Write a checkpoint; neither searches nor changes wait for it."""
        with self._saving:
            with self._writing:
                segments = self._segments
            self._checkpoints.write(seq, chain.from_iterable(map(dump_segment, segments)))
            self.saved_seq = seq

    def apply(self, added: Iterable[tuple[int, bytes]], removed: Iterable[int]) -> None:
        """Add and remove vectors. This is idempotent."""
        deleted = np.unique(np.fromiter(removed, dtype=np.uint32))
        with self._writing:
            if len(deleted):
                self._segments = tuple(_compact([each.delete(deleted) for each in self._segments]))
            remaining = iter(added)
            while batch := dict(islice(remaining, BATCH)):
                new = self._missing(np.array(list(batch), dtype=np.uint32))
                if len(new):
                    vectors = [(docno, *unpack(batch[docno])) for docno in new.tolist()]
                    self._segments = tuple(_compact([*self._segments, build_segment(vectors)]))

    def search(
        self,
        indices: Sequence[int] | Indices,
        values: Sequence[float] | Values,
        k: int,
        candidates: BitMap | None = None,
    ) -> list[tuple[int, float]]:
        """Return the k candidates with the largest dot products, best first."""
        query = unpack(pack(indices, values))
        segments = self._segments
        if k < 1 or not segments or (candidates is not None and not candidates):
            return []
        eligible = None if candidates is None else np.frombuffer(candidates.to_array(), np.uint32)
        found = [segment.dot_products(*query, eligible) for segment in segments]
        docnos = np.concatenate([each for each, _ in found])
        products = np.concatenate([each for _, each in found])
        return best_scores(docnos, products, k)

    def _missing(self, docnos: Docnos) -> Docnos:
        for segment in self._segments:
            docnos = docnos[~segment.contains(docnos)]
        return docnos


def _compact(segments: list[PostingsSegment]) -> list[PostingsSegment]:
    """Merge segments so that they are few, and none consists mostly of removed documents."""
    kept = []
    for segment in segments:
        alive = len(segment)
        if alive:
            kept.append(merge_segments([segment]) if 2 * alive < len(segment.docnos) else segment)
    while len(kept) > 1 and _should_merge(kept[-2], kept[-1]):
        kept[-2:] = [merge_segments(kept[-2:])]
    return kept


def _should_merge(larger: PostingsSegment, smaller: PostingsSegment) -> bool:
    entries = len(larger.rows) + len(larger.docnos), len(smaller.rows) + len(smaller.docnos)
    return entries[0] <= GROWTH * entries[1] and sum(entries) <= MAX_ENTRIES
