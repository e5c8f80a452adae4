"""An HNSW graph over vectors (usearch), which proposes candidates for a query.

The candidates are scored elsewhere, so vectors may be quantized here. If only directions count,
each number has 8 bits, scaled by the largest of its vector or, for embeddings, by the largest that
is to be expected; else it is a bfloat16, which has the range of 32 bits. Observed in usearch 2.26:

- Its binding lets one call at a time into an index, searches too, in no particular order. A fair
  lock makes the order fair, and vectors are added in batches of a few milliseconds.
- Vectors that several threads add at once may become unreachable: one thread adds.
- `save` does not take that lock: searches go on. But it holds the GIL while the vectors are copied
  (some 0.5 ms per megabyte) and then until its callback releases it. So does `load`.
- Its own cast to 8 bits normalizes first: of 256 numbers most are then below 20 of 127.
- The slots of removed vectors are reused.
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
EXPANSION_SEARCH = 200  # candidates that a search keeps
MAX_DEVIATION = 4.8  # standard deviations of a number of an embedding; beyond, it is clipped
MAX_VALUE = 1e17  # larger numbers are clipped, so that sums of squares stay finite
BATCH = 8  # vectors that are added under the lock at once: 1 to 3 ms
YIELD_EVERY = 64  # progress callbacks of a save or a load


class HnswGraph:
    """Any thread may search; one thread at a time may write or save."""

    def __init__(self, dimension: int, metric: str, *, embeddings: bool = False) -> None:
        """Embeddings share one scale, as none of their numbers is much larger than the others."""
        self._lock = FairLock()
        self._quantized = metric == "cos"
        self._scale = 127 * dimension**0.5 / MAX_DEVIATION if embeddings else None
        self._index = Index(
            ndim=dimension,
            metric="l2sq" if embeddings else metric,  # the same order for equal lengths, and faster
            dtype="i8" if self._quantized else "bf16",
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            expansion_search=EXPANSION_SEARCH,
        )

    def load(self, content: memoryview) -> bool:
        """Load the output of `dump`, before the first search. Returns False if it is invalid."""
        try:
            self._index.load(content, progress=_yield_gil)
        except (RuntimeError, ValueError):
            return False
        return True

    def dump(self) -> bytearray:
        """Serialize the graph. Searches may go on meanwhile, writes may not."""
        dumped: Any = self._index.save(progress=_yield_gil)
        assert isinstance(dumped, bytearray)  # noqa: S101 - as no path is given
        return dumped

    def __len__(self) -> int:
        return len(self._index)

    def add(self, docnos: Docnos, rows: Matrix) -> None:
        for start in range(0, len(docnos), BATCH):
            keys = docnos[start : start + BATCH].astype(np.uint64)
            with self._lock:
                new = ~np.asarray(self._index.contains(keys))
                if new.any():
                    encoded = self._encode(rows[start : start + BATCH][new])
                    self._index.add(keys[new], encoded, threads=1)

    def remove(self, docnos: Docnos) -> None:
        for start in range(0, len(docnos), 64 * BATCH):
            with self._lock:
                self._index.remove(docnos[start : start + 64 * BATCH].astype(np.uint64))

    def nearest(self, query: Matrix, count: int) -> Docnos:
        """Return about the nearest `count`, unordered. A larger `count` searches further."""
        encoded = self._encode(query[np.newaxis])[0]
        with self._lock:
            if not len(self._index):
                return np.empty(0, dtype=np.uint32)
            found = self._index.search(encoded, min(count, len(self._index)), threads=1)
        return found.keys.astype(np.uint32)

    def _encode(self, rows: Matrix) -> Matrix:
        exact = rows.astype(np.float32)
        if not self._quantized:
            return np.clip(exact, -MAX_VALUE, MAX_VALUE)
        if self._scale is None:
            largest = np.abs(exact).max(axis=1, keepdims=True)
            scale = 127 / np.where(largest == 0, 1, largest)
        else:
            lengths = np.linalg.norm(exact, axis=1, keepdims=True)
            scale = self._scale / np.where(lengths == 0, 1, lengths)
        quantized: Matrix = np.clip(np.rint(exact * scale), -127, 127).astype(np.int8)
        return quantized


def _yield_gil(done: int, total: int) -> bool:  # noqa: ARG001 - usearch checks the signature
    if done % YIELD_EVERY == 0:
        time.sleep(0)
    return True
