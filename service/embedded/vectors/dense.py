"""The index of dense vectors: exact where that is fast, else approximate with rescoring.

Vectors are kept twice: in `segments.py`, which scores them exactly, and in `graph.py`, which
proposes candidates. At 16 bits and 256 dimensions this takes 1.0 to 1.2 kB per document.

- Up to `exact_up_to` candidates are all scored: the result is that of brute force.
- Without a filter, the graph proposes candidates, which are rescored. The recall depends on the
  vectors: nearly 1 for clustered ones such as those of texts, far less for random ones.
- With a filter that leaves more, the graph proposes more, and those in the candidate set are
  scored; so this is approximate, too. If they are too few, the whole set is scored.

A vector of zeros has no direction and a similarity of 0 to every vector.
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
from service.embedded.vectors.graph import EXPANSION_SEARCH, HnswGraph
from service.embedded.vectors.segments import USEARCH_METRICS, Matrix, SegmentedVectors

Vector = NDArray[np.float32]

LAYOUT = "vectors, graph, scaled"  # of a checkpoint file; change it with the layout
EXACT_BELOW = 4_000  # documents; scoring so few is fast
EXACT_UP_TO = 200_000  # candidates of a filtered search that are all scored
MIN_GRAPH_SHARE = 20  # for more results than 1/20 of an index the graph is slower
OVERSAMPLING = 2  # candidates from the graph per requested result
FILTER_EXPANSION = 4  # a filtered search of the graph looks this much further
MAX_GRAPH_SHARE = 8  # proposing more than 1/8 of an index is slower than scoring all
BATCH = 512


class DenseIndex:
    """Vectors by docno. `saved_seq` is the sequence number of the last checkpoint."""

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
        self._checkpoints = CheckpointFiles(
            folder, ".usearch", f"{LAYOUT} {metric} {dtype} {dimension}"
        )
        self._writing = threading.Lock()  # held by changes, and by `save` while it copies
        self._saving = threading.Lock()
        self._vectors, self._graph = self._new()
        self.saved_seq = 0

    def __len__(self) -> int:
        return len(self._vectors)

    def _new(self) -> tuple[SegmentedVectors, HnswGraph]:
        return (
            SegmentedVectors(self._dimension, self._metric, self._dtype),
            HnswGraph(
                self._dimension,
                USEARCH_METRICS[self._metric],
                embeddings=self._metric == "cosine" and self._dtype == "f16",
            ),
        )

    def load(self) -> bool:
        """Load the newest valid checkpoint. Returns False if none is valid."""
        for seq, content in self._checkpoints.read():
            vectors, graph = self._new()
            if not graph.load(vectors.load(content)) or len(graph) != len(vectors):
                continue
            with self._writing:
                self._vectors, self._graph, self.saved_seq = vectors, graph, seq
            return True
        return False

    def save(self, seq: int) -> None:
        """Write a checkpoint. Searches go on; changes wait only while the state is copied."""
        with self._saving:
            with self._writing:
                parts = [*self._vectors.dump(), self._graph.dump()]
            self._checkpoints.write(seq, parts)
            self.saved_seq = seq

    def apply(self, added: Iterable[tuple[int, bytes]], removed: Iterable[int]) -> None:
        """Add and remove vectors. This is idempotent."""
        deleted = np.unique(np.fromiter(removed, dtype=np.uint32))
        with self._writing:
            deleted = deleted[~self._vectors.missing(deleted)]
            if len(deleted):
                self._graph.remove(deleted)
                self._vectors.update(_no_docnos(), self._rows([]), deleted)
            for batch in _batches(added):
                docnos = np.array(sorted(batch), dtype=np.uint32)
                docnos = docnos[self._vectors.missing(docnos)]
                if len(docnos):
                    rows = self._rows([batch[docno] for docno in docnos.tolist()])
                    self._graph.add(docnos, rows)
                    self._vectors.update(docnos, rows, _no_docnos())

    def search(
        self, vector: Vector, k: int, candidates: BitMap | None = None
    ) -> list[tuple[int, float]]:
        """Return the k nearest candidates (by default, documents) with their scores, best first."""
        vectors, graph = self._vectors, self._graph
        total = len(vectors)
        if k < 1 or not total:
            return []
        (query,) = vectors.encode(np.asarray(vector, dtype=np.float32)[np.newaxis])
        if candidates is None:
            if total > max(EXACT_BELOW, MIN_GRAPH_SHARE * k):
                found = vectors.top_k_of(query, k, np.sort(graph.nearest(query, OVERSAMPLING * k)))
                if len(found) == k:  # else documents were removed, or the graph has degraded
                    return found
            return vectors.top_k(query, k, None)
        if len(candidates) > self._exact_up_to:
            candidates = self._propose(graph, query, k, candidates, total)
        return vectors.top_k(query, k, candidates)

    def _propose(
        self, graph: HnswGraph, query: Matrix, k: int, candidates: BitMap, total: int
    ) -> BitMap:
        """Return those of many candidates that the graph finds, or all if it finds too few."""
        count = max(FILTER_EXPANSION * EXPANSION_SEARCH, 2 * k * total // len(candidates))
        while count <= total // MAX_GRAPH_SHARE:
            found = BitMap(graph.nearest(query, count)) & candidates
            if len(found) >= k:
                return found
            count *= FILTER_EXPANSION
        return candidates

    def _rows(self, raw: list[bytes]) -> Matrix:
        width = 4 * self._dimension
        if any(len(each) != width for each in raw):
            raise ValueError(f"a vector of this field must have {self._dimension} dimensions")
        rows = np.frombuffer(b"".join(raw), dtype="<f4").reshape(len(raw), self._dimension)
        return self._vectors.encode(rows)


def _no_docnos() -> Docnos:
    return np.empty(0, dtype=np.uint32)


def _batches(added: Iterable[tuple[int, bytes]]) -> Iterator[dict[int, bytes]]:
    remaining = iter(added)
    while batch := dict(islice(remaining, BATCH)):
        yield batch
