"""The view for sparse vector search: the vectors of one field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.embedded.storage.store import Document
from service.embedded.vectors.sparse import SparseIndex
from service.embedded.views.folders import SAVE_AFTER_CHANGES, SAVE_AFTER_S, delete_folder


class SparseView:
    """Keeps a `SparseIndex` up to date."""

    save_after_changes, save_after_s, visible_on_save = SAVE_AFTER_CHANGES, SAVE_AFTER_S, False

    def __init__(self, folder: Path, field: str) -> None:
        self.name = f"the sparse view of {field!r}"
        self.vector_field: str | None = field
        self._field = field
        self._folder = folder
        self.index = SparseIndex(folder)

    def open(self) -> int | None:
        self.index = SparseIndex(self._folder)
        return self.index.saved_seq if self.index.load() else None

    def reset(self) -> None:
        delete_folder(self._folder)
        self.index = SparseIndex(self._folder)

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        vectors = [(each.docno, each.vectors.get(self._field)) for each in added]
        self.index.apply(
            [(docno, vector) for docno, vector in vectors if vector],
            [each.docno for each in removed],
        )

    def save(self, seq: int) -> None:
        self.index.save(seq)

    def close(self) -> None:
        """Do nothing: memory is freed with the object."""
