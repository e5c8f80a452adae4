"""The view for dense vector search: the vectors of one field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.embedded.storage.store import Document
from service.embedded.vectors.dense import DenseIndex
from service.embedded.views.folders import SAVE_AFTER_CHANGES, SAVE_AFTER_S, delete_folder


class DenseView:
    """Keeps a `DenseIndex` up to date.

    `raw` vectors are provided by the caller and kept in 32 bits; embeddings are kept in 16.
    """

    save_after_s, visible_on_save = SAVE_AFTER_S, False

    def __init__(self, folder: Path, field: str, dimension: int, metric: str, *, raw: bool) -> None:
        self.name = f"the dense view of {field!r}"
        self.vector_field: str | None = field
        self._field = field
        self._folder = folder
        self._dimension = dimension
        self._metric = metric
        self._raw = raw
        self.index = self._new_index()

    def open(self) -> int | None:
        self.index = self._new_index()
        return self.index.saved_seq if self.index.load() else None

    def reset(self) -> None:
        delete_folder(self._folder)
        self.index = self._new_index()

    def _new_index(self) -> DenseIndex:
        dtype = "f32" if self._raw else "f16"
        return DenseIndex(self._folder, self._dimension, self._metric, dtype=dtype)

    @property
    def save_after_changes(self) -> int:
        """Grows with the index, as each save writes all of it."""
        return max(SAVE_AFTER_CHANGES, len(self.index) // 5)

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        vectors = [(each.docno, each.vectors.get(self._field, b"")) for each in added]
        self.index.apply(
            [(docno, vector) for docno, vector in vectors if self._is_searchable(vector)],
            [each.docno for each in removed],
        )

    def _is_searchable(self, vector: bytes) -> bool:
        """Leave out the embeddings of empty texts, which are zero; a raw vector may be zero."""
        return bool(vector if self._raw else vector.strip(b"\0"))

    def save(self, seq: int) -> None:
        self.index.save(seq)

    def close(self) -> None:
        """Do nothing: memory is freed with the object."""
