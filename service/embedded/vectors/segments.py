"""Vectors by document number, and exact nearest-neighbor search over them.

Vectors are stored in segments: matrices of some megabytes, in the order of the numbers. A segment
never changes: a write builds new segments and replaces the tuple of segments, so a search needs no
lock and uses the segments that it started with. The last segment may have spare capacity, which
the next version of that segment fills without a copy.

The same two vectors have the same score to the last bit in any segment. That rules out matrix
products, whose order of summation depends on the position. So equal scores are ties.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numkong import cdist
from numpy.typing import NDArray
from pyroaring import BitMap

from service.embedded.vectors.docnos import Docnos, best_scores, positions_in

Matrix = NDArray[Any]
Positions = NDArray[np.intp]
Scores = NDArray[np.float32] | NDArray[np.float64]

SEGMENT_BYTES = 1 << 23  # copied when a document is removed: 1 to 2 ms
SCORING_BYTES = 1 << 21  # scored at once: 0.1 ms
COPY_COST = 3  # copying and scoring a row, relative to scoring it in place
MAX_HALF = 65504.0
COUNT = struct.Struct("<Q")  # of vectors, in a checkpoint
NUMKONG_METRICS: Mapping[str, Literal["angular", "dot", "sqeuclidean"]] = {
    "cosine": "angular",
    "dotproduct": "dot",
    "euclidean": "sqeuclidean",
}
USEARCH_METRICS = {"cosine": "cos", "dotproduct": "ip", "euclidean": "l2sq"}


@dataclass(frozen=True)
class Segment:
    docnos: Docnos  # sorted
    rows: Matrix
    capacity: tuple[Docnos, Matrix] | None = None  # arrays that start with these two


class SegmentedVectors:
    """Any number of threads may search while one writes."""

    def __init__(self, dimension: int, metric: str, dtype: str) -> None:
        self.dtype = np.dtype({"f16": np.float16, "f32": np.float32}[dtype])
        self._metric = metric
        self._dimension = dimension
        self._segment_rows = max(64, SEGMENT_BYTES // (dimension * self.dtype.itemsize))
        self._scoring_rows = max(64, SCORING_BYTES // (dimension * self.dtype.itemsize))
        self._segments: tuple[Segment, ...] = ()

    def __len__(self) -> int:
        return sum(len(segment.docnos) for segment in self._segments)

    def encode(self, rows: NDArray[np.float32]) -> Matrix:
        """Convert vectors to the stored type, clipping what is too large for 16 bits.

        If only the direction counts, a vector is scaled by a power of two, which is exact, so that
        neither its numbers nor their squares overflow or underflow.
        """
        if self._metric == "cosine":
            powers = np.frexp(np.abs(rows).max(axis=1, keepdims=True))[1]
            rows = np.ldexp(rows, -powers)
        elif self.dtype == np.float16:
            rows = np.clip(rows, -MAX_HALF, MAX_HALF)
        encoded: Matrix = rows.astype(self.dtype)
        return encoded

    def dump(self) -> list[bytes | memoryview]:
        """Return the content of a checkpoint as of now, without a copy."""
        segments = self._segments
        count = sum(len(segment.docnos) for segment in segments)
        docnos = [segment.docnos.data for segment in segments]
        return [COUNT.pack(count), *docnos, *(segment.rows.data for segment in segments)]

    def load(self, content: memoryview) -> memoryview:
        """Load the output of `dump`, and return the rest of the content."""
        (count,) = COUNT.unpack_from(content)
        after = COUNT.size + 4 * count
        end = after + count * self._dimension * self.dtype.itemsize
        docnos = np.frombuffer(content[COUNT.size : after], dtype=np.uint32)
        rows = np.frombuffer(content[after:end], dtype=self.dtype)
        self._segments = tuple(self._split(docnos, rows.reshape(count, self._dimension)))
        return content[end:]

    def missing(self, docnos: Docnos) -> NDArray[np.bool_]:
        """Return which of the docnos (sorted) are missing."""
        missing = np.ones(len(docnos), dtype=np.bool_)
        for segment, start, end in _by_segment(self._segments, docnos):
            missing[start:end] = positions_in(segment.docnos, docnos[start:end]) < 0
        return missing

    def update(self, docnos: Docnos, rows: Matrix, removed: Docnos) -> None:
        """Add vectors (sorted by docno, none present yet) and remove others."""
        if not self._segments:
            self._segments = tuple(self._split(docnos, rows))
            return
        changed: list[Segment] = []
        bounds = _first_docnos(self._segments)[1:]  # a docno below belongs to the segment before
        added_ranges = pairwise([0, *np.searchsorted(docnos, bounds).tolist(), len(docnos)])
        removed_ranges = pairwise([0, *np.searchsorted(removed, bounds).tolist(), len(removed)])
        ranges = zip(self._segments, added_ranges, removed_ranges, strict=True)
        for segment, added_range, removed_range in ranges:
            added, deleted = slice(*added_range), removed[slice(*removed_range)]
            changed += self._rebuild_segment(segment, docnos[added], rows[added], deleted)
        self._segments = tuple(self._merge_small(changed))

    def top_k(self, query: Matrix, k: int, candidates: BitMap | None) -> list[tuple[int, float]]:
        """Return the k nearest with their scores, best first; equal scores by docno."""
        if candidates is None:
            return self._search_segments(((segment, None) for segment in self._segments), query, k)
        return self.top_k_of(query, k, np.frombuffer(candidates.to_array(), dtype=np.uint32))

    def top_k_of(self, query: Matrix, k: int, candidates: Docnos) -> list[tuple[int, float]]:
        """Do the same for candidates in a sorted array."""
        return self._search_segments(self._candidate_rows(candidates), query, k)

    def _search_segments(
        self, rows_by_segment: Iterable[tuple[Segment, Positions | None]], query: Matrix, k: int
    ) -> list[tuple[int, float]]:
        found: list[tuple[Docnos, Scores]] = []
        for segment, at in rows_by_segment:
            if at is None:
                found.append((segment.docnos, self._scores_in_batches(segment.rows, query)))
            elif len(at) * COPY_COST >= len(segment.docnos):
                found.append((segment.docnos[at], self._scores_in_batches(segment.rows, query)[at]))
            else:
                found.append((segment.docnos[at], self._scores_in_batches(segment.rows[at], query)))
        if not found:
            return []
        docnos = np.concatenate([each for each, _ in found])
        scores = np.concatenate([each for _, each in found])
        return best_scores(docnos, scores, k, lower_is_better=self._metric == "euclidean")

    def _candidate_rows(self, candidates: Docnos) -> Iterator[tuple[Segment, Positions | None]]:
        """Yield the segments with candidates, and the positions of their rows (None for all)."""
        for segment, start, end in _by_segment(self._segments, candidates):
            at = positions_in(segment.docnos, candidates[start:end])
            present = at >= 0
            if not present.all():
                at = at[present]
            if len(at):
                yield segment, None if len(at) == len(segment.docnos) else at

    def _scores_in_batches(self, rows: Matrix, query: Matrix) -> Scores:
        """Score in batches, between which other threads can run."""
        size = self._scoring_rows
        if len(rows) <= size:
            return self._scores(rows, query)
        starts = range(0, len(rows), size)
        return np.concatenate([self._scores(rows[at : at + size], query) for at in starts])

    def _scores(self, rows: Matrix, query: Matrix) -> Scores:
        """Score with 64 bits where 32 bits overflow."""
        if self.dtype == np.float16:
            return self._half_scores(rows, query)
        with np.errstate(over="ignore", invalid="ignore"):
            scores = self._full_scores(rows, query)
        large = ~np.isfinite(scores)
        if large.any():
            scores[large] = self._full_scores(
                rows[large].astype(np.float64), query.astype(np.float64)
            )
        return scores

    def _full_scores(self, rows: Matrix, query: Matrix) -> NDArray[np.float64]:
        if self._metric == "euclidean":
            difference = rows - query
            squares: Matrix = np.einsum("ij,ij->i", difference, difference)
            return squares.astype(np.float64)
        scores: Matrix = np.einsum("ij,j->i", rows, query)
        if self._metric == "cosine":
            norms = np.sqrt(np.einsum("ij,ij->i", rows, rows) * np.dot(query, query))
            scores = np.divide(scores, norms, out=np.zeros_like(scores), where=norms > 0)
        return scores.astype(np.float64)

    def _half_scores(self, rows: Matrix, query: Matrix) -> Scores:
        """Score 16-bit vectors with numkong, which is forty times as fast as numpy."""
        if self._metric == "cosine" and not query.any():
            return np.zeros(len(rows))  # no direction, so no similarity
        compared = cdist(rows, query[np.newaxis], NUMKONG_METRICS[self._metric])
        scores: NDArray[np.float64] = np.asarray(compared).ravel()
        return 1 - scores if self._metric == "cosine" else scores

    # --- building segments ---------------------------------------------------------------------

    def _rebuild_segment(
        self, segment: Segment, docnos: Docnos, rows: Matrix, removed: Docnos
    ) -> list[Segment]:
        deleted = positions_in(segment.docnos, removed)
        deleted = deleted[deleted >= 0]
        if not len(docnos) and not len(deleted):
            return [segment]
        old, kept = (segment.docnos, segment.rows)
        if len(deleted):
            old, kept = np.delete(old, deleted), np.delete(kept, deleted, axis=0)
        if not len(docnos):
            return [Segment(old, kept)] if len(old) else []
        if not len(old) or docnos[0] > old[-1]:
            fits = max(0, self._segment_rows - len(old))
            extended = Segment(old, kept, None if len(deleted) else segment.capacity)
            if fits:
                extended = self._extend(extended, docnos[:fits], rows[:fits])
            return [extended, *self._split(docnos[fits:], rows[fits:])]
        both = np.concatenate([old, docnos])
        order = np.argsort(both)
        return self._split(both[order], np.concatenate([kept, rows])[order])

    def _extend(self, segment: Segment, docnos: Docnos, rows: Matrix) -> Segment:
        """Append vectors: in the capacity of this segment, or in a copy with more of it."""
        start, end = len(segment.docnos), len(segment.docnos) + len(docnos)
        capacity = segment.capacity
        if capacity is None or len(capacity[0]) < end:
            size = min(self._segment_rows, 2 * end)
            capacity = (
                np.empty(size, dtype=np.uint32),
                np.empty((size, self._dimension), dtype=self.dtype),
            )
            capacity[0][:start], capacity[1][:start] = segment.docnos, segment.rows
        capacity[0][start:end], capacity[1][start:end] = docnos, rows
        return Segment(capacity[0][:end], capacity[1][:end], capacity)

    def _split(self, docnos: Docnos, rows: Matrix) -> list[Segment]:
        size = self._segment_rows
        return [
            Segment(docnos[at : at + size].copy(), rows[at : at + size].copy())
            for at in range(0, len(docnos), size)
        ]

    def _merge_small(self, segments: Sequence[Segment]) -> list[Segment]:
        """Merge neighbors that have become small: many small segments are slow to search."""
        merged: list[Segment] = []
        for segment in segments:
            last = merged[-1] if merged else None
            if last and len(last.docnos) + len(segment.docnos) <= self._segment_rows // 2:
                merged[-1] = Segment(
                    np.concatenate([last.docnos, segment.docnos]),
                    np.concatenate([last.rows, segment.rows]),
                )
            else:
                merged.append(segment)
        return merged


def _first_docnos(segments: Sequence[Segment]) -> Docnos:
    return np.array([segment.docnos[0] for segment in segments], dtype=np.uint32)


def _by_segment(segments: Sequence[Segment], docnos: Docnos) -> Iterator[tuple[Segment, int, int]]:
    """Yield each segment whose range has some of the docnos (sorted), and their slice."""
    if not segments or not len(docnos):
        return
    bounds = np.searchsorted(docnos, _first_docnos(segments)).tolist()
    for segment, start, end in zip(segments, bounds, [*bounds[1:], len(docnos)], strict=True):
        if start < end:
            yield segment, start, end
