"""Vectors by document number, and the exact answer to which of them are nearest.

Knows nothing of graphs. Vectors lie in leaves: matrices of some megabytes, in the order of the
numbers. What is in a leaf never changes: a write makes new leaves and puts them in the place of
the old ones, so that a search needs no lock; it goes through the leaves that it found. Behind
what is in the last leaf there may be room, in which the next leaf continues it without a copy.

The same two vectors get the same score to the last bit wherever they lie, which is why no matrix
product is used here: it sums in an order that depends on the place. So ties are ties.
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

from service.embedded.vectors.docnos import Docnos, positions_in, top_k

Matrix = NDArray[Any]
Places = NDArray[np.intp]
Scores = NDArray[np.float32] | NDArray[np.float64]

LEAF_BYTES = 1 << 23  # copied when a record is removed: 1 to 2 ms
SCORED_BYTES = 1 << 21  # scored at once: 0.1 ms
WORTH_A_COPY = 3  # to score a row costs a third of copying and scoring it
LARGEST_HALF = 65504.0
COUNT = struct.Struct("<Q")  # of the vectors in a file
HALF_KINDS: Mapping[str, Literal["angular", "dot", "sqeuclidean"]] = {  # numkong's names
    "cosine": "angular",
    "dotproduct": "dot",
    "euclidean": "sqeuclidean",
}
KINDS = {"cosine": "cos", "dotproduct": "ip", "euclidean": "l2sq"}  # usearch's names


@dataclass(frozen=True)
class Segment:
    docnos: Docnos  # ascending
    rows: Matrix
    room: tuple[Docnos, Matrix] | None = None  # arrays of which these are the beginning


class SegmentedVectors:
    """One writer at a time; any number of searches beside it."""

    def __init__(self, dimension: int, metric: str, dtype: str) -> None:
        self.dtype = np.dtype({"f16": np.float16, "f32": np.float32}[dtype])
        self._metric = metric
        self._dimension = dimension
        self._leaf_rows = max(64, LEAF_BYTES // (dimension * self.dtype.itemsize))
        self._scored_rows = max(64, SCORED_BYTES // (dimension * self.dtype.itemsize))
        self._leaves: tuple[Segment, ...] = ()

    def __len__(self) -> int:
        return sum(len(leaf.docnos) for leaf in self._leaves)

    def fitted(self, rows: NDArray[np.float32]) -> Matrix:
        """As they are kept: what is too large for 16 bits is as large as may be.

        Where only the direction counts, all of a vector is divided by a power of two, which is
        exact: then no number and no square is too large or too small, whatever was given.
        """
        if self._metric == "cosine":
            powers = np.frexp(np.abs(rows).max(axis=1, keepdims=True))[1]
            rows = np.ldexp(rows, -powers)
        elif self.dtype == np.float16:
            rows = np.clip(rows, -LARGEST_HALF, LARGEST_HALF)
        kept: Matrix = rows.astype(self.dtype)
        return kept

    def parts(self) -> list[bytes | memoryview]:
        """All of it as it is now, without a copy, for a file."""
        leaves = self._leaves
        count = sum(len(leaf.docnos) for leaf in leaves)
        docnos, rows = [leaf.docnos.data for leaf in leaves], [leaf.rows.data for leaf in leaves]
        return [COUNT.pack(count), *docnos, *rows]

    def load(self, content: memoryview) -> memoryview:
        """Take up what `parts` gave; the rest of the content comes back."""
        (count,) = COUNT.unpack_from(content)
        after = COUNT.size + 4 * count
        end = after + count * self._dimension * self.dtype.itemsize
        docnos = np.frombuffer(content[COUNT.size : after], dtype=np.uint32)
        rows = np.frombuffer(content[after:end], dtype=self.dtype)
        self._leaves = tuple(self._cut(docnos, rows.reshape(count, self._dimension)))
        return content[end:]

    def missing(self, docnos: Docnos) -> NDArray[np.bool_]:
        """Which of them (ascending) are not here."""
        missing = np.ones(len(docnos), dtype=np.bool_)
        for leaf, start, end in _parts(self._leaves, docnos):
            missing[start:end] = positions_in(leaf.docnos, docnos[start:end]) < 0
        return missing

    def change(self, docnos: Docnos, rows: Matrix, removed: Docnos) -> None:
        """Add what is new (docnos ascending and not here yet), and remove."""
        if not self._leaves:
            self._leaves = tuple(self._cut(docnos, rows))
            return
        changed: list[Segment] = []
        following = _firsts(self._leaves)[1:]  # what is before them belongs to the leaf before
        new = [0, *np.searchsorted(docnos, following).tolist(), len(docnos)]
        old = [0, *np.searchsorted(removed, following).tolist(), len(removed)]
        for leaf, ours, out in zip(self._leaves, pairwise(new), pairwise(old), strict=True):
            mine = slice(*ours)
            changed += self._remade(leaf, docnos[mine], rows[mine], removed[slice(*out)])
        self._leaves = tuple(self._joined(changed))

    def best(self, query: Matrix, k: int, among: BitMap | None) -> list[tuple[int, float]]:
        """The nearest of them with their scores, best first, equals by number."""
        if among is None:
            return self._ranked(((leaf, None) for leaf in self._leaves), query, k)
        return self.best_of(query, k, np.frombuffer(among.to_array(), dtype=np.uint32))

    def best_of(self, query: Matrix, k: int, wanted: Docnos) -> list[tuple[int, float]]:
        """As `best`; the wanted are ascending."""
        return self._ranked(self._candidates(wanted), query, k)

    def _ranked(
        self, candidates: Iterable[tuple[Segment, Places | None]], query: Matrix, k: int
    ) -> list[tuple[int, float]]:
        found: list[tuple[Docnos, Scores]] = []
        for leaf, at in candidates:
            if at is None:
                found.append((leaf.docnos, self._portions(leaf.rows, query)))
            elif len(at) * WORTH_A_COPY >= len(leaf.docnos):
                found.append((leaf.docnos[at], self._portions(leaf.rows, query)[at]))
            else:
                found.append((leaf.docnos[at], self._portions(leaf.rows[at], query)))
        if not found:
            return []
        docnos = np.concatenate([each for each, _ in found])
        scores = np.concatenate([each for _, each in found])
        return top_k(docnos, scores, k, lower_is_better=self._metric == "euclidean")

    def _candidates(self, wanted: Docnos) -> Iterator[tuple[Segment, Places | None]]:
        """The leaves to look at, and which of their rows, if not all."""
        for leaf, start, end in _parts(self._leaves, wanted):
            at = positions_in(leaf.docnos, wanted[start:end])
            here = at >= 0
            if not here.all():
                at = at[here]
            if len(at):
                yield leaf, None if len(at) == len(leaf.docnos) else at

    def _portions(self, rows: Matrix, query: Matrix) -> Scores:
        """Scores in portions, between which other threads get their turn."""
        size = self._scored_rows
        if len(rows) <= size:
            return self._scores(rows, query)
        starts = range(0, len(rows), size)
        return np.concatenate([self._scores(rows[at : at + size], query) for at in starts])

    def _scores(self, rows: Matrix, query: Matrix) -> Scores:
        """Where 32 bits are too few for a sum of squares, 64."""
        if self.dtype == np.float16:
            return self._half_scores(rows, query)
        with np.errstate(over="ignore", invalid="ignore"):
            scores = self._sums(rows, query)
        large = ~np.isfinite(scores)
        if large.any():
            scores[large] = self._sums(rows[large].astype(np.float64), query.astype(np.float64))
        return scores

    def _sums(self, rows: Matrix, query: Matrix) -> NDArray[np.float64]:
        if self._metric == "euclidean":
            apart = rows - query
            squares: Matrix = np.einsum("ij,ij->i", apart, apart)
            return squares.astype(np.float64)
        scores: Matrix = np.einsum("ij,j->i", rows, query)
        if self._metric == "cosine":
            norms = np.sqrt(np.einsum("ij,ij->i", rows, rows) * np.dot(query, query))
            scores = np.divide(scores, norms, out=np.zeros_like(scores), where=norms > 0)
        return scores.astype(np.float64)

    def _half_scores(self, rows: Matrix, query: Matrix) -> Scores:
        """By numkong, which knows 16-bit floats: forty times as fast as numpy."""
        if self._metric == "cosine" and not query.any():
            return np.zeros(len(rows))  # it has no direction: like nothing
        compared = cdist(rows, query[np.newaxis], HALF_KINDS[self._metric])
        scores: NDArray[np.float64] = np.asarray(compared).ravel()
        return 1 - scores if self._metric == "cosine" else scores

    # --- how leaves are made ---------------------------------------------------------------------

    def _remade(
        self, leaf: Segment, docnos: Docnos, rows: Matrix, removed: Docnos
    ) -> list[Segment]:
        gone = positions_in(leaf.docnos, removed)
        gone = gone[gone >= 0]
        if not len(docnos) and not len(gone):
            return [leaf]
        old, kept = (leaf.docnos, leaf.rows)
        if len(gone):
            old, kept = np.delete(old, gone), np.delete(kept, gone, axis=0)
        if not len(docnos):
            return [Segment(old, kept)] if len(old) else []
        if not len(old) or docnos[0] > old[-1]:
            fits = max(0, self._leaf_rows - len(old))
            continued = Segment(old, kept, None if len(gone) else leaf.room)
            if fits:
                continued = self._continued(continued, docnos[:fits], rows[:fits])
            return [continued, *self._cut(docnos[fits:], rows[fits:])]
        both = np.concatenate([old, docnos])
        order = np.argsort(both)
        return self._cut(both[order], np.concatenate([kept, rows])[order])

    def _continued(self, leaf: Segment, docnos: Docnos, rows: Matrix) -> Segment:
        """With more behind it: in its room, which is nobody else's, or in a larger one."""
        start, end = len(leaf.docnos), len(leaf.docnos) + len(docnos)
        room = leaf.room
        if room is None or len(room[0]) < end:
            size = min(self._leaf_rows, 2 * end)
            room = (
                np.empty(size, dtype=np.uint32),
                np.empty((size, self._dimension), dtype=self.dtype),
            )
            room[0][:start], room[1][:start] = leaf.docnos, leaf.rows
        room[0][start:end], room[1][start:end] = docnos, rows
        return Segment(room[0][:end], room[1][:end], room)

    def _cut(self, docnos: Docnos, rows: Matrix) -> list[Segment]:
        starts = range(0, len(docnos), self._leaf_rows)
        return [
            Segment(
                docnos[at : at + self._leaf_rows].copy(), rows[at : at + self._leaf_rows].copy()
            )
            for at in starts
        ]

    def _joined(self, leaves: Sequence[Segment]) -> list[Segment]:
        """Neighbours of which little was left become one: many small leaves are slow to search."""
        joined: list[Segment] = []
        for leaf in leaves:
            last = joined[-1] if joined else None
            if last and len(last.docnos) + len(leaf.docnos) <= self._leaf_rows // 2:
                joined[-1] = Segment(
                    np.concatenate([last.docnos, leaf.docnos]),
                    np.concatenate([last.rows, leaf.rows]),
                )
            else:
                joined.append(leaf)
        return joined


def _firsts(leaves: Sequence[Segment]) -> Docnos:
    return np.array([leaf.docnos[0] for leaf in leaves], dtype=np.uint32)


def _parts(leaves: Sequence[Segment], docnos: Docnos) -> Iterator[tuple[Segment, int, int]]:
    """The leaves in whose range some of the numbers (ascending) are, and which."""
    if not leaves or not len(docnos):
        return
    bounds = np.searchsorted(docnos, _firsts(leaves)).tolist()
    for leaf, start, end in zip(leaves, bounds, [*bounds[1:], len(docnos)], strict=True):
        if start < end:
            yield leaf, start, end
