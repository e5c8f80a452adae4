"""The graph that finds near vectors without looking at all of them: usearch's HNSW.

Knows nothing of scores, sets or files: it proposes documents. So its own vectors may be coarse:
where only directions count, each number has 8 bits, of the largest in its vector or, in embeddings,
of the largest to be expected; else 16, with the range of 32. What was seen of usearch 2.26:

- Its binding lets one call at a time into an index, searches too, and in no order. So calls take
  turns here, in the order in which they came, and a load comes in portions of a few milliseconds.
- Vectors that several threads add at once may end up where no search finds them: one thread adds.
- Saving takes no such lock: searches go on beside it. But it holds the interpreter: while the
  vectors are copied (some 0.5 ms per megabyte), all of it, then until its callback lets go. So
  does loading.
- Its own cast to 8 bits makes lengths 1 first: of 256 numbers most are then below 20 of 127.
- Places of removed vectors are used again by those that come.
"""

# No `from __future__ import annotations`: usearch compares the callback's annotations with types.

import time
from typing import Any

import numpy as np
from usearch.index import Index

from service.embedded.storage.fair_lock import FairLock
from service.embedded.vectors.docnos import Docnos
from service.embedded.vectors.segments import Matrix

CONNECTIVITY = 20
EXPANSION_ADD = 128
EXPANSION = 200  # of a search: how many of the best it keeps in view
LARGEST_DEVIATION = 4.8  # of a number of an embedding, in standard deviations; beyond, it is cut
FARTHEST = 1e17  # larger ones count as this, so that sums of squares stay finite
PORTION = 8  # vectors that are added in one turn: 1 to 3 ms
BREATH = 64  # steps of a save or a load between two moments for other threads


class HnswGraph:
    """Searches from any thread; one that writes or saves."""

    def __init__(self, dimension: int, metric: str, *, embeddings: bool = False) -> None:
        """Of `embeddings` no number is much larger than the others: all vectors share a scale."""
        self._turns = FairLock()
        self._coarse = metric == "cos"
        self._scale = 127 * dimension**0.5 / LARGEST_DEVIATION if embeddings else None
        self._index = Index(
            ndim=dimension,
            metric="l2sq" if embeddings else metric,  # of equal lengths the same, and sooner told
            dtype="i8" if self._coarse else "bf16",
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            expansion_search=EXPANSION,
        )

    def load(self, content: memoryview) -> bool:
        """Take up what `dump` gave, before anybody searches."""
        try:
            self._index.load(content, progress=_breathe)
        except (RuntimeError, ValueError):
            return False
        return True

    def dump(self) -> bytearray:
        """All of it; searches go on, writes must not."""
        dumped: Any = self._index.save(progress=_breathe)
        assert isinstance(dumped, bytearray)  # noqa: S101 - so it is where no path is given
        return dumped

    def __len__(self) -> int:
        return len(self._index)

    def add(self, docnos: Docnos, rows: Matrix) -> None:
        for start in range(0, len(docnos), PORTION):
            keys = docnos[start : start + PORTION].astype(np.uint64)
            with self._turns:
                new = ~np.asarray(self._index.contains(keys))
                if new.any():
                    kept = self._kept(rows[start : start + PORTION][new])
                    self._index.add(keys[new], kept, threads=1)

    def remove(self, docnos: Docnos) -> None:
        for start in range(0, len(docnos), 64 * PORTION):
            with self._turns:
                self._index.remove(docnos[start : start + 64 * PORTION].astype(np.uint64))

    def near(self, query: Matrix, count: int) -> Docnos:
        """About the nearest `count`, in no order: the more are asked for, the further it looks."""
        asked = self._kept(query[np.newaxis])[0]
        with self._turns:
            if not len(self._index):
                return np.empty(0, dtype=np.uint32)
            found = self._index.search(asked, min(count, len(self._index)), threads=1)
        return found.keys.astype(np.uint32)

    def _kept(self, rows: Matrix) -> Matrix:
        exact = rows.astype(np.float32)
        if not self._coarse:
            return np.clip(exact, -FARTHEST, FARTHEST)
        if self._scale is None:
            largest = np.abs(exact).max(axis=1, keepdims=True)
            scale = 127 / np.where(largest == 0, 1, largest)
        else:
            lengths = np.linalg.norm(exact, axis=1, keepdims=True)
            scale = self._scale / np.where(lengths == 0, 1, lengths)
        coarse: Matrix = np.clip(np.rint(exact * scale), -127, 127).astype(np.int8)
        return coarse


def _breathe(done: int, total: int) -> bool:  # noqa: ARG001 - usearch looks at the signature
    if done % BREATH == 0:
        time.sleep(0)
    return True
