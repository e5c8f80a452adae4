"""Vectors by document number, and the exact answer to which of them are nearest.

Knows nothing of graphs or files. Vectors lie in leaves: matrices of some megabytes, in the order
of the numbers. A leaf is never changed: a write makes new leaves and puts them in the place of
the old ones, so that a search needs no lock; it goes through the leaves that it found.

The same two vectors get the same score to the last bit wherever they lie, which is why no matrix
product is used here: it sums in an order that depends on the place. So ties are ties.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from usearch.index import search

from service.embedded.order import Docnos, places, ranked

Matrix = NDArray[Any]
Scores = NDArray[np.float32]

LEAF_BYTES = 1 << 21  # copied when a record is written: 0.2 ms; scored at once: 1 ms
POOL_ROWS = 512  # fewer are scored together with those of the next leaf
KINDS = {"cosine": "cos", "dotproduct": "ip", "euclidean": "l2sq"}  # usearch's names


@dataclass(frozen=True)
class Leaf:
    docnos: Docnos  # ascending
    rows: Matrix


class Vectors:
    """One writer at a time; any number of searches beside it."""

    def __init__(self, dimension: int, metric: str, dtype: str) -> None:
        self.dtype = np.dtype({"f16": np.float16, "f32": np.float32}[dtype])
        self._metric = metric
        self._leaf_rows = max(64, LEAF_BYTES // (dimension * self.dtype.itemsize))
        self._leaves: tuple[Leaf, ...] = ()

    def __len__(self) -> int:
        return sum(len(leaf.docnos) for leaf in self._leaves)

    def missing(self, docnos: Docnos) -> NDArray[np.bool_]:
        """Which of them (ascending) are not here."""
        missing = np.ones(len(docnos), dtype=np.bool_)
        for leaf, start, end in _parts(self._leaves, docnos):
            missing[start:end] = places(leaf.docnos, docnos[start:end]) < 0
        return missing

    def change(self, docnos: Docnos, rows: Matrix, removed: Docnos) -> None:
        """Add what is new (docnos ascending and not here yet), and remove."""
        if not self._leaves:
            self._leaves = tuple(self._cut(docnos, rows))
            return
        changed: list[Leaf] = []
        following = _firsts(self._leaves)[1:]  # what is before them belongs to the leaf before
        new = [0, *np.searchsorted(docnos, following).tolist(), len(docnos)]
        old = [0, *np.searchsorted(removed, following).tolist(), len(removed)]
        for leaf, ours, out in zip(self._leaves, pairwise(new), pairwise(old), strict=True):
            mine = slice(*ours)
            changed += self._remade(leaf, docnos[mine], rows[mine], removed[slice(*out)])
        self._leaves = tuple(self._joined(changed))

    def best(self, query: Scores, k: int, among: BitMap | None) -> list[tuple[int, float]]:
        """The nearest of them with their scores, best first, equals by number."""
        found = [(docnos, self._scores(rows, query)) for docnos, rows in self._candidates(among)]
        if not found:
            return []
        docnos = np.concatenate([each for each, _ in found])
        scores = np.concatenate([each for _, each in found])
        return ranked(docnos, scores, k, lower_is_better=self._metric == "euclidean")

    def _candidates(self, among: BitMap | None) -> Iterator[tuple[Docnos, Matrix]]:
        """The rows to look at, in portions that are worth a call."""
        leaves = self._leaves
        if among is None:
            yield from ((leaf.docnos, leaf.rows) for leaf in leaves)
            return
        wanted = np.frombuffer(among.to_array(), dtype=np.uint32)
        pool: list[tuple[Docnos, Matrix]] = []
        pooled = 0
        for leaf, start, end in _parts(leaves, wanted):
            at = places(leaf.docnos, wanted[start:end])
            at = at[at >= 0]
            if not len(at):
                continue
            every = len(at) == len(leaf.docnos)
            pool.append((leaf.docnos, leaf.rows) if every else (leaf.docnos[at], leaf.rows[at]))
            pooled += len(at)
            if pooled >= POOL_ROWS:
                yield _one(pool)
                pool, pooled = [], 0
        if pool:
            yield _one(pool)

    def _scores(self, rows: Matrix, query: Scores) -> Scores:
        if self.dtype == np.float16:
            return self._half_scores(rows, query)
        if self._metric == "euclidean":
            apart = rows - query
            squares: Scores = np.einsum("ij,ij->i", apart, apart)
            return squares
        scores: Scores = np.einsum("ij,j->i", rows, query)
        if self._metric == "cosine":
            norms = np.sqrt(np.einsum("ij,ij->i", rows, rows) * np.dot(query, query))
            scores = np.divide(scores, norms, out=np.zeros_like(scores), where=norms > 0)
        return scores

    def _half_scores(self, rows: Matrix, query: Scores) -> Scores:
        """By usearch, which knows 16-bit floats: five times as fast as numpy."""
        if self._metric == "cosine" and not query.any():
            return np.zeros(len(rows), dtype=np.float32)  # it has no direction: like nothing
        asked = query.astype(np.float16)
        found = search(rows, asked, len(rows), KINDS[self._metric], exact=True, threads=1)
        scores = np.empty(len(rows), dtype=np.float32)
        scores[found.keys] = found.distances
        return scores if self._metric == "euclidean" else 1 - scores

    # --- how leaves are made ---------------------------------------------------------------------

    def _remade(self, leaf: Leaf, docnos: Docnos, rows: Matrix, removed: Docnos) -> list[Leaf]:
        gone = places(leaf.docnos, removed)
        gone = gone[gone >= 0]
        if not len(docnos) and not len(gone):
            return [leaf]
        old, kept = (leaf.docnos, leaf.rows)
        if len(gone):
            old, kept = np.delete(old, gone), np.delete(kept, gone, axis=0)
        if not len(docnos):
            return [Leaf(old, kept)] if len(old) else []
        if not len(old) or docnos[0] > old[-1]:
            room = max(0, self._leaf_rows - len(old))  # the last leaf is filled, the rest is new
            filled = Leaf(np.concatenate([old, docnos[:room]]), np.concatenate([kept, rows[:room]]))
            return [filled, *self._cut(docnos[room:], rows[room:])]
        both = np.concatenate([old, docnos])
        order = np.argsort(both)
        return self._cut(both[order], np.concatenate([kept, rows])[order])

    def _cut(self, docnos: Docnos, rows: Matrix) -> list[Leaf]:
        starts = range(0, len(docnos), self._leaf_rows)
        return [
            Leaf(docnos[at : at + self._leaf_rows].copy(), rows[at : at + self._leaf_rows].copy())
            for at in starts
        ]

    def _joined(self, leaves: Sequence[Leaf]) -> list[Leaf]:
        """Neighbours of which little was left become one: many small leaves are slow to search."""
        joined: list[Leaf] = []
        for leaf in leaves:
            last = joined[-1] if joined else None
            if last and len(last.docnos) + len(leaf.docnos) <= self._leaf_rows // 2:
                joined[-1] = Leaf(*_one([(last.docnos, last.rows), (leaf.docnos, leaf.rows)]))
            else:
                joined.append(leaf)
        return joined


def _firsts(leaves: Sequence[Leaf]) -> Docnos:
    return np.array([leaf.docnos[0] for leaf in leaves], dtype=np.uint32)


def _parts(leaves: Sequence[Leaf], docnos: Docnos) -> Iterator[tuple[Leaf, int, int]]:
    """The leaves in whose range some of the numbers (ascending) are, and which."""
    if not leaves or not len(docnos):
        return
    bounds = np.searchsorted(docnos, _firsts(leaves)).tolist()
    for leaf, start, end in zip(leaves, bounds, [*bounds[1:], len(docnos)], strict=True):
        if start < end:
            yield leaf, start, end


def _one(pool: Sequence[tuple[Docnos, Matrix]]) -> tuple[Docnos, Matrix]:
    if len(pool) == 1:
        return pool[0]
    return np.concatenate([each for each, _ in pool]), np.concatenate([rows for _, rows in pool])
