"""The dense view: vectors of one field, found exactly where that is quick, else over a graph.

Knows nothing of texts or records, only of document numbers and vectors; it is a view of the
store's log. The vectors are kept twice: in `vectors.py`, which scores, and in `graph.py`, which
proposes. At 16 bits and 256 dimensions that is 1.0 to 1.2 kB for a record.

- Up to `exact_up_to` candidates are scored one by one: the answer is brute force's.
- Without a filter, the graph proposes and the scores are exact. How many of the best it finds
  depends on the vectors: of texts' or other clustered ones nearly all, of vectors without any
  order, as random ones are, far fewer.
- With a filter that leaves more than that, the graph is asked widely; what is in the set is
  scored. So this is approximate, too. Where that gives too few, all of the set is scored.

A document without a direction (all zeros) has the similarity 0 with everything.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from service.embedded.storage.checkpoint_files import CheckpointFiles
from service.embedded.vectors.docnos import Docnos
from service.embedded.vectors.graph import EXPANSION, HnswGraph
from service.embedded.vectors.segments import KINDS, Matrix, SegmentedVectors

Vector = NDArray[np.float32]

LAYOUT = "vectors, graph, scaled"  # of a saved file; another name for each way to write one
EXACT_BELOW = 4_000  # so small an index is not worth a graph's chances
EXACT_UP_TO = 200_000  # candidates of a filtered search that are scored one by one
EXACT_SHARE = 20  # who asks for every twentieth of an index is quicker without the graph
RESCORED = 2  # so many times what was asked for is proposed by the graph, and scored
WIDER = 4  # a filtered search of the graph looks that much further than others
LARGEST_SHARE = 8  # to ask the graph for more than every eighth is slower than to score them all
PORTION = 512


class DenseIndex:
    """Vectors by docno. `saved_seq` is the change up to which a saved view is complete."""

    def __init__(
        self,
        folder: Path,
        dimension: int,
        metric: str = "cosine",
        *,
        dtype: str = "f16",
        exact_up_to: int = EXACT_UP_TO,
    ) -> None:
        self._dimension = dimension
        self._metric = metric
        self._dtype = dtype
        self._exact_up_to = exact_up_to
        self._files = CheckpointFiles(folder, ".usearch", f"{LAYOUT} {metric} {dtype} {dimension}")
        self._writing = threading.Lock()  # those who change, and who copies to save
        self._saving = threading.Lock()
        self._vectors, self._graph = self._empty()
        self.saved_seq = 0

    def __len__(self) -> int:
        return len(self._vectors)

    def _empty(self) -> tuple[SegmentedVectors, HnswGraph]:
        return (
            SegmentedVectors(self._dimension, self._metric, self._dtype),
            HnswGraph(
                self._dimension,
                KINDS[self._metric],
                embeddings=self._metric == "cosine" and self._dtype == "f16",
            ),
        )

    def load(self) -> bool:
        """Take up the newest saved state; False where there is none that can be used."""
        for seq, content in self._files.read():
            vectors, graph = self._empty()
            if not graph.load(vectors.load(content)) or len(graph) != len(vectors):
                continue
            with self._writing:
                self._vectors, self._graph, self.saved_seq = vectors, graph, seq
            return True
        return False

    def save(self, seq: int) -> None:
        """Write the state after `seq`; searches go on, and changes wait only for the copy."""
        with self._saving:
            with self._writing:
                parts = [*self._vectors.parts(), self._graph.dump()]
            self._files.write(seq, parts)
            self.saved_seq = seq

    def apply(self, added: Iterable[tuple[int, bytes]], removed: Iterable[int]) -> None:
        """Add and remove vectors; doing it again changes nothing."""
        gone = np.unique(np.fromiter(removed, dtype=np.uint32))
        with self._writing:
            gone = gone[~self._vectors.missing(gone)]
            if len(gone):
                self._graph.remove(gone)
                self._vectors.change(_none(), self._rows([]), gone)
            for portion in _portions(added):
                docnos = np.array(sorted(portion), dtype=np.uint32)
                docnos = docnos[self._vectors.missing(docnos)]
                if len(docnos):
                    rows = self._rows([portion[docno] for docno in docnos.tolist()])
                    self._graph.add(docnos, rows)
                    self._vectors.change(docnos, rows, _none())

    def search(
        self, vector: Vector, k: int, among: BitMap | None = None
    ) -> list[tuple[int, float]]:
        """The nearest documents with their scores, best first; `among` restricts them."""
        vectors, graph = self._vectors, self._graph
        total = len(vectors)
        if k < 1 or not total:
            return []
        (query,) = vectors.fitted(np.asarray(vector, dtype=np.float32)[np.newaxis])
        if among is None:
            if total > max(EXACT_BELOW, EXACT_SHARE * k):
                found = vectors.best_of(query, k, np.sort(graph.near(query, RESCORED * k)))
                if len(found) == k:  # else some were removed meanwhile, or it is worn out
                    return found
            return vectors.best(query, k, None)
        if len(among) > self._exact_up_to:
            among = self._proposed(graph, query, k, among, total)
        return vectors.best(query, k, among)

    def _proposed(
        self, graph: HnswGraph, query: Matrix, k: int, among: BitMap, total: int
    ) -> BitMap:
        """Candidates out of a large set, or all of it where the graph finds too few."""
        count = max(WIDER * EXPANSION, 2 * k * total // len(among))
        while count <= total // LARGEST_SHARE:
            found = BitMap(graph.near(query, count)) & among
            if len(found) >= k:
                return found
            count *= WIDER
        return among

    def _rows(self, raw: list[bytes]) -> Matrix:
        width = 4 * self._dimension
        if any(len(each) != width for each in raw):
            raise ValueError(f"a vector here has {self._dimension} dimensions")
        rows = np.frombuffer(b"".join(raw), dtype="<f4").reshape(len(raw), self._dimension)
        return self._vectors.fitted(rows)


def _none() -> Docnos:
    return np.empty(0, dtype=np.uint32)


def _portions(added: Iterable[tuple[int, bytes]]) -> Iterator[dict[int, bytes]]:
    remaining = iter(added)
    while portion := dict(islice(remaining, PORTION)):
        yield portion
