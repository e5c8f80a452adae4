"""An immutable segment of the inverted index over sparse vectors.

Removed documents are marked in a copy of the segment's mask, and dropped when segments are merged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.embedded.vectors.docnos import Docnos, positions_in

Indices = NDArray[np.uint32]
Values = NDArray[np.float32]
LOW_32_BITS = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class PostingsSegment:
    """The posting list of `indices[i]` is in `rows` and `values`, from `starts[i]` on."""

    starts: NDArray[np.int64]
    docnos: Docnos  # sorted; a row is a position in this array
    indices: Indices  # sorted
    rows: NDArray[np.uint32]  # sorted within an index
    values: Values
    alive: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(np.count_nonzero(self.alive))

    def contains(self, docnos: Docnos) -> NDArray[np.bool_]:
        at = positions_in(self.docnos, docnos)
        return np.asarray((at >= 0) & self.alive[at]) if len(self.docnos) else at >= 0

    def delete(self, docnos: Docnos) -> PostingsSegment:
        at = positions_in(self.docnos, docnos)
        at = at[at >= 0]
        if not self.alive[at].any():
            return self
        alive = self.alive.copy()
        alive[at] = False
        return replace(self, alive=alive)

    def dot_products(
        self, indices: Indices, values: Values, candidates: Docnos | None
    ) -> tuple[Docnos, NDArray[np.float64]]:
        """Return the documents that have one of the indices, and their dot products."""
        eligible = self.alive
        if candidates is not None:
            at = positions_in(self.docnos, candidates)
            eligible = np.zeros(len(self.docnos), dtype=np.bool_)
            eligible[at[at >= 0]] = True
            eligible &= self.alive
        rows, products = [np.empty(0, np.uint32)], [np.empty(0)]
        positions = positions_in(self.indices, indices).tolist()
        for position, value in zip(positions, values, strict=True):
            if position >= 0:
                posting_list = slice(self.starts[position], self.starts[position + 1])
                rows.append(self.rows[posting_list])
                products.append(self.values[posting_list] * np.float64(value))
        all_rows = np.concatenate(rows)
        summed = np.bincount(all_rows, np.concatenate(products), minlength=len(self.docnos))
        sums = np.asarray(summed, dtype=np.float64)
        touched = np.zeros(len(self.docnos), dtype=np.bool_)
        touched[all_rows] = True
        found = np.flatnonzero(touched & eligible)
        return self.docnos[found], sums[found]


def build_segment(vectors: Sequence[tuple[int, Indices, Values]]) -> PostingsSegment:
    """Build a segment from vectors by docno, in which each docno occurs once."""
    ordered = sorted(vectors, key=lambda vector: vector[0])
    docnos = np.array([docno for docno, _, _ in ordered], dtype=np.uint32)
    lengths = [len(indices) for _, indices, _ in ordered]
    rows = np.repeat(np.arange(len(ordered), dtype=np.uint64), lengths)
    indices = np.concatenate([np.empty(0, np.uint32), *(each for _, each, _ in ordered)])
    values = np.concatenate([np.empty(0, np.float32), *(each for _, _, each in ordered)])
    return _from_keys(docnos, indices.astype(np.uint64) << np.uint64(32) | rows, values)


def merge_segments(segments: Sequence[PostingsSegment]) -> PostingsSegment:
    """Merge segments with distinct docnos into one, without their removed documents."""
    docnos = np.concatenate([segment.docnos[segment.alive] for segment in segments])
    order = np.argsort(docnos, kind="stable")
    new_rows = np.empty(len(docnos), dtype=np.uint64)
    new_rows[order] = np.arange(len(docnos), dtype=np.uint64)
    keys, values = [], []
    offset = 0
    for segment in segments:
        positions = offset + np.cumsum(segment.alive) - 1  # of the rows that are alive
        offset += len(segment)
        alive = segment.alive[segment.rows]
        indices = np.repeat(segment.indices, np.diff(segment.starts))[alive].astype(np.uint64)
        keys.append(indices << np.uint64(32) | new_rows[positions[segment.rows[alive]]])
        values.append(segment.values[alive])
    return _from_keys(docnos[order], np.concatenate(keys), np.concatenate(values))


def _from_keys(docnos: Docnos, keys: NDArray[np.uint64], values: Values) -> PostingsSegment:
    """Build a segment from keys, which have the index above the row. Sorting runs is fast."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    indices = (keys >> np.uint64(32)).astype(np.uint32)
    changes = np.flatnonzero(np.diff(indices)) + 1
    firsts = np.concatenate([[0], changes]) if len(keys) else np.empty(0, dtype=np.int64)
    return PostingsSegment(
        starts=np.append(firsts, len(keys)).astype(np.int64),
        docnos=docnos,
        indices=indices[firsts],
        rows=(keys & LOW_32_BITS).astype(np.uint32),
        values=values[order],
        alive=np.ones(len(docnos), dtype=np.bool_),
    )


# --- serialization ---------------------------------------------------------------------------


def dump_segment(segment: PostingsSegment) -> Iterator[bytes | memoryview]:
    counts = [len(segment.docnos), len(segment.indices), len(segment.rows)]
    yield np.array(counts, dtype="<u8").tobytes()
    for name, dtype in _ARRAY_TYPES:
        yield np.ascontiguousarray(getattr(segment, name), dtype=dtype).data.cast("B")


def load_segments(content: memoryview) -> Iterator[PostingsSegment]:
    """Load the concatenated output of `dump_segment`, whose checksum has been verified."""
    while content:
        counts = np.frombuffer(content[:24], dtype="<u8").tolist()
        content = content[24:]
        documents, indices, postings = counts
        lengths = [indices + 1, documents, indices, postings, postings, documents]
        arrays = {}
        for (name, dtype), length in zip(_ARRAY_TYPES, lengths, strict=True):
            size = length * np.dtype(dtype).itemsize
            arrays[name] = np.frombuffer(content[:size], dtype=dtype).copy()
            content = content[size:]
        yield PostingsSegment(**arrays)


_ARRAY_TYPES = [
    ("starts", "<i8"),
    ("docnos", "<u4"),
    ("indices", "<u4"),
    ("rows", "<u4"),
    ("values", "<f4"),
    ("alive", "?"),
]
