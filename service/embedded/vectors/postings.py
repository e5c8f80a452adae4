"""A piece of an inverted index over sparse vectors: who has an index, and with what value.

Knows nothing of locks or files. A piece is never changed; removed documents are marked in a copy
of the marks, and left out when pieces are merged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.embedded.vectors.docnos import Docnos, positions_in

Indices = NDArray[np.uint32]
Values = NDArray[np.float32]
LOW = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class PostingsSegment:
    """Of the index `indices[i]`: `rows` and `values` from `starts[i]` to `starts[i + 1]`."""

    starts: NDArray[np.int64]
    docnos: Docnos  # ascending; a row is a place in here
    indices: Indices  # ascending
    rows: NDArray[np.uint32]  # ascending within an index
    values: Values
    alive: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(np.count_nonzero(self.alive))

    def has(self, docnos: Docnos) -> NDArray[np.bool_]:
        at = positions_in(self.docnos, docnos)
        return np.asarray((at >= 0) & self.alive[at]) if len(self.docnos) else at >= 0

    def without(self, docnos: Docnos) -> PostingsSegment:
        at = positions_in(self.docnos, docnos)
        at = at[at >= 0]
        if not self.alive[at].any():
            return self
        alive = self.alive.copy()
        alive[at] = False
        return replace(self, alive=alive)

    def products(
        self, indices: Indices, values: Values, among: Docnos | None
    ) -> tuple[Docnos, NDArray[np.float64]]:
        """The documents that have one of the indices, by number, and their dot products."""
        open_to = self.alive
        if among is not None:
            at = positions_in(self.docnos, among)
            open_to = np.zeros(len(self.docnos), dtype=np.bool_)
            open_to[at[at >= 0]] = True
            open_to &= self.alive
        rows, products = [np.empty(0, np.uint32)], [np.empty(0)]
        for place, value in zip(positions_in(self.indices, indices).tolist(), values, strict=True):
            if place >= 0:
                own = slice(self.starts[place], self.starts[place + 1])
                rows.append(self.rows[own])
                products.append(self.values[own] * np.float64(value))
        every = np.concatenate(rows)
        summed = np.bincount(every, np.concatenate(products), minlength=len(self.docnos))
        sums = np.asarray(summed, dtype=np.float64)
        touched = np.zeros(len(self.docnos), dtype=np.bool_)
        touched[every] = True
        found = np.flatnonzero(touched & open_to)
        return self.docnos[found], sums[found]


def build_segment(vectors: Sequence[tuple[int, Indices, Values]]) -> PostingsSegment:
    """Vectors by document number, each number once."""
    ordered = sorted(vectors, key=lambda vector: vector[0])
    docnos = np.array([docno for docno, _, _ in ordered], dtype=np.uint32)
    lengths = [len(indices) for _, indices, _ in ordered]
    rows = np.repeat(np.arange(len(ordered), dtype=np.uint64), lengths)
    indices = np.concatenate([np.empty(0, np.uint32), *(each for _, each, _ in ordered)])
    values = np.concatenate([np.empty(0, np.float32), *(each for _, _, each in ordered)])
    return _built(docnos, indices.astype(np.uint64) << np.uint64(32) | rows, values)


def merge_segments(pieces: Sequence[PostingsSegment]) -> PostingsSegment:
    """One piece out of several; without what was removed, and each number once."""
    docnos = np.concatenate([piece.docnos[piece.alive] for piece in pieces])
    order = np.argsort(docnos, kind="stable")
    new_rows = np.empty(len(docnos), dtype=np.uint64)
    new_rows[order] = np.arange(len(docnos), dtype=np.uint64)
    keys, values = [], []
    first = 0
    for piece in pieces:
        place = first + np.cumsum(piece.alive) - 1  # of a row, among those that are left
        first += len(piece)
        left = piece.alive[piece.rows]
        indices = np.repeat(piece.indices, np.diff(piece.starts))[left].astype(np.uint64)
        keys.append(indices << np.uint64(32) | new_rows[place[piece.rows[left]]])
        values.append(piece.values[left])
    return _built(docnos[order], np.concatenate(keys), np.concatenate(values))


def _built(docnos: Docnos, keys: NDArray[np.uint64], values: Values) -> PostingsSegment:
    """A key is an index over a row; sorting what is mostly in runs is quick."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    indices = (keys >> np.uint64(32)).astype(np.uint32)
    changes = np.flatnonzero(np.diff(indices)) + 1
    firsts = np.concatenate([[0], changes]) if len(keys) else np.empty(0, dtype=np.int64)
    return PostingsSegment(
        starts=np.append(firsts, len(keys)).astype(np.int64),
        docnos=docnos,
        indices=indices[firsts],
        rows=(keys & LOW).astype(np.uint32),
        values=values[order],
        alive=np.ones(len(docnos), dtype=np.bool_),
    )


# --- as bytes ------------------------------------------------------------------------------------


def dump_segment(piece: PostingsSegment) -> Iterator[bytes | memoryview]:
    yield np.array([len(piece.docnos), len(piece.indices), len(piece.rows)], dtype="<u8").tobytes()
    for name, form in _FORMS:
        yield np.ascontiguousarray(getattr(piece, name), dtype=form).data.cast("B")


def load_segments(content: memoryview) -> Iterator[PostingsSegment]:
    """What `dump_segment` gave, piece after piece; the bytes are known to be whole."""
    while content:
        counts = np.frombuffer(content[:24], dtype="<u8").tolist()
        content = content[24:]
        documents, indices, postings = counts
        lengths = [indices + 1, documents, indices, postings, postings, documents]
        arrays = {}
        for (name, form), length in zip(_FORMS, lengths, strict=True):
            size = length * np.dtype(form).itemsize
            arrays[name] = np.frombuffer(content[:size], dtype=form).copy()
            content = content[size:]
        yield PostingsSegment(**arrays)


_FORMS = [
    ("starts", "<i8"),
    ("docnos", "<u4"),
    ("indices", "<u4"),
    ("rows", "<u4"),
    ("values", "<f4"),
    ("alive", "?"),
]
