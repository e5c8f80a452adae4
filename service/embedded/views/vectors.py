"""The view for vector search: the dense or the sparse vectors of one field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from service.embedded.storage.store import Document
from service.embedded.vectors.dense import DenseIndex
from service.embedded.vectors.sparse import SparseIndex
from service.embedded.views.view import SAVE_AFTER_CHANGES, View, delete_folder, field_folder

IndexT = TypeVar("IndexT", bound=DenseIndex | SparseIndex)


class VectorView(View, Generic[IndexT]):
    """Keeps an index of vectors up to date, which `new_index` creates in the view's folder.

    `skip_zeros` leaves out vectors of zeros, which are the embeddings of empty texts.
    """

    def __init__(
        self,
        kind: str,
        folder: Path,
        field: str,
        new_index: Callable[[Path], IndexT],
        *,
        skip_zeros: bool = False,
    ) -> None:
        self.name = f"the {kind} view of {field!r}"
        self.vector_field = field
        self._folder = folder = field_folder(folder, kind, field)
        self._field = field
        self._new_index = new_index
        self._skip_zeros = skip_zeros
        self.index = new_index(folder)

    def open(self) -> int | None:
        self.index = self._new_index(self._folder)
        return self.index.saved_seq if self.index.load() else None

    def reset(self) -> None:
        delete_folder(self._folder)
        self.index = self._new_index(self._folder)

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        vectors = [(each.docno, each.vectors.get(self._field, b"")) for each in added]
        self.index.apply(
            [(docno, vector) for docno, vector in vectors if self._is_searchable(vector)],
            [each.docno for each in removed],
        )
        # Grows with the index, as each save writes all of it.
        self.save_after_changes = max(SAVE_AFTER_CHANGES, len(self.index) // 5)

    def save(self, seq: int) -> None:
        self.index.save(seq)

    def _is_searchable(self, vector: bytes) -> bool:
        return bool(vector.strip(b"\0") if self._skip_zeros else vector)
