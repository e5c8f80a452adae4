"""The graph that finds near vectors without looking at all of them: usearch's HNSW.

Knows nothing of scores, sets or files: it proposes documents. What was seen of usearch 2.26:

- Its binding lets one call at a time into an index, searches too, and in no order. So calls take
  turns here, in the order in which they came, and a load comes in portions of a few milliseconds.
- Vectors that several threads add at once may end up where no search finds them: one thread adds.
- Saving takes no such lock: searches go on beside it. But it holds the interpreter: while the
  vectors are copied (some 0.5 ms per megabyte), all of it, then until its callback lets go.
- Places of removed vectors are used again by those that come.
"""

# No `from __future__ import annotations`: usearch compares the callback's annotations with types.

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from usearch.index import Index

from service.embedded.order import Docnos
from service.embedded.turns import Turns
from service.embedded.vectors import Matrix, Scores

CONNECTIVITY = 16
EXPANSION = 128
PORTION = 8  # vectors that are added in one turn: 1 to 3 ms
BREATH = 64  # steps of a save or a load between two moments for other threads


class Graph:
    """Searches from any thread; one that writes or saves."""

    def __init__(self, dimension: int, metric: str, dtype: str) -> None:
        self._turns = Turns()
        self._index = Index(
            ndim=dimension,
            metric=metric,
            dtype=dtype,
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION,
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

    def docnos(self) -> NDArray[np.uint64]:
        return np.asarray(self._index.keys[: len(self._index)], dtype=np.uint64)

    def rows(self, docnos: NDArray[np.uint64]) -> Matrix:
        with self._turns:
            rows: Any = self._index.get(docnos)  # one array for each
        return np.stack(rows)

    def add(self, docnos: Docnos, rows: Matrix) -> None:
        for start in range(0, len(docnos), PORTION):
            keys = docnos[start : start + PORTION].astype(np.uint64)
            with self._turns:
                new = ~np.asarray(self._index.contains(keys))
                if new.any():
                    self._index.add(keys[new], rows[start : start + PORTION][new], threads=1)

    def remove(self, docnos: Docnos) -> None:
        for start in range(0, len(docnos), 64 * PORTION):
            with self._turns:
                self._index.remove(docnos[start : start + 64 * PORTION].astype(np.uint64))

    def near(self, query: Scores, count: int) -> BitMap:
        """About the nearest `count`: the more are asked for, the further it looks."""
        with self._turns:
            if not len(self._index):
                return BitMap()
            found = self._index.search(query, min(count, len(self._index)), threads=1)
        return BitMap(found.keys.astype(np.uint32))


def _breathe(done: int, total: int) -> bool:  # noqa: ARG001 - usearch looks at the signature
    if done % BREATH == 0:
        time.sleep(0)
    return True
