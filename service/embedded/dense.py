"""The dense view: vectors of one field, over usearch's HNSW graph.

Knows nothing of texts or records, only of document numbers and vectors; it is a view of the
store's log. Vectors are held as 16-bit floats, which costs no recall that can be measured.

The graph answers what is not filtered, and what is filtered loosely, by asking for more until
enough of it is in the set. A small set is scored one by one: a selective filter's answer is exact.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from usearch.index import Index, search

Vector = NDArray[np.float32]

EXACT_BELOW = 4_000  # candidates that are scored one by one
METRICS = {"cosine": "cos", "dotproduct": "ip", "euclidean": "l2sq"}


class DenseView:
    """Vectors by docno. `applied` is the change up to which a saved view is complete."""

    def __init__(
        self, folder: Path, dimension: int, metric: str = "cosine", *, dtype: str = "f16"
    ) -> None:
        self._folder = folder
        self._lock = threading.RLock()  # usearch takes searches at once, but no write beside them
        self._metric = METRICS[metric]
        self._dimension = dimension
        self._index = self._empty()
        self.applied = 0

    def __len__(self) -> int:
        return len(self._index)

    def _empty(self) -> Index:
        return Index(
            ndim=self._dimension,
            metric=self._metric,
            dtype="f16",
            connectivity=16,
            expansion_add=128,
            expansion_search=128,
        )

    def load(self) -> bool:
        """Take up the newest saved state; False where there is none that can be used."""
        for path in sorted(self._saved(), reverse=True):
            loaded = self._empty()
            try:
                loaded.load(str(path))
            except Exception:  # noqa: S112 - whatever is wrong with it, it is rebuilt
                continue
            if loaded.ndim != self._dimension:
                continue
            with self._lock:
                self._index, self.applied = loaded, int(path.stem)
            return True
        return False

    def save(self, seq: int) -> None:
        """Write the state after `seq` beside the older one, then remove that: one is whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"{seq:020d}.usearch"
        unfinished = target.with_suffix(".unfinished")
        with self._lock:
            self._index.save(str(unfinished))
            self.applied = seq
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        older = [path for path in self._saved() if path != target]
        unfinished.rename(target)
        for path in older:
            path.unlink()

    def apply(self, added: Iterable[tuple[int, bytes]], removed: Iterable[int]) -> None:
        """Add and remove vectors; doing it again changes nothing."""
        pairs = list(added)
        with self._lock:
            gone = [docno for docno in removed if docno in self._index]
            if gone:
                self._index.remove(np.array(gone, dtype=np.uint64))
            fresh = [(docno, raw) for docno, raw in pairs if docno not in self._index]
            if fresh:
                keys = np.array([docno for docno, _ in fresh], dtype=np.uint64)
                vectors = np.frombuffer(b"".join(raw for _, raw in fresh), dtype=np.float32)
                self._index.add(keys, vectors.reshape(len(fresh), self._index.ndim))

    def search(
        self, vector: Vector, k: int, among: BitMap | None = None
    ) -> list[tuple[int, float]]:
        """The nearest documents with their similarity, best first; `among` restricts them."""
        with self._lock:
            total = len(self._index)
            if not total or (among is not None and not among):
                return []
            if among is not None and len(among) <= EXACT_BELOW:
                return self._exact(vector, k, among)
            if total <= EXACT_BELOW:
                return self._filtered(vector, k, among, total, exact=True)
            wanted = k
            while True:
                found = self._filtered(vector, k, among, wanted, exact=wanted >= total)
                if len(found) >= k or wanted >= total:
                    return found
                wanted = min(total, wanted * 4)

    def _filtered(
        self, vector: Vector, k: int, among: BitMap | None, wanted: int, *, exact: bool
    ) -> list[tuple[int, float]]:
        matches = self._index.search(vector, min(wanted, len(self._index)), exact=exact)
        pairs = zip(matches.keys.tolist(), matches.distances.tolist(), strict=True)
        found = [
            (docno, self._similarity(distance))
            for docno, distance in pairs
            if among is None or docno in among
        ]
        return _best(found, k)

    def _exact(self, vector: Vector, k: int, among: BitMap) -> list[tuple[int, float]]:
        docnos = [docno for docno in among if docno in self._index]
        if not docnos:
            return []
        rows = np.asarray(self._index.get(np.array(docnos, dtype=np.uint64)))
        query = vector.astype(rows.dtype)
        matches = search(rows, query, min(k, len(docnos)), self._metric, exact=True)
        pairs = zip(matches.keys.tolist(), matches.distances.tolist(), strict=True)
        return _best([(docnos[row], self._similarity(distance)) for row, distance in pairs], k)

    def _similarity(self, distance: float) -> float:
        """Higher is better, in the terms of the metric."""
        return -distance if self._metric == "l2sq" else 1.0 - distance

    def _saved(self) -> list[Path]:
        return list(self._folder.glob("*.usearch"))


def _best(found: list[tuple[int, float]], k: int) -> list[tuple[int, float]]:
    """Best first; equals in the order of their numbers, so that one question has one answer."""
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k]
