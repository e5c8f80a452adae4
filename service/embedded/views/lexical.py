"""The view for full-text search: all full-text fields, in one lexical index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from service.embedded.lexical.files import CorruptIndex
from service.embedded.lexical.index import LexicalIndex
from service.embedded.schema import LANGUAGES, Schema
from service.embedded.storage.store import Document
from service.embedded.views.view import VISIBLE_WITHIN_S, View, delete_folder


class LexicalView(View):
    """Keeps a `LexicalIndex` up to date. Changes become visible with its next commit."""

    name = "the lexical view"
    save_after_changes, save_after_s, visible_on_save = 5_000, VISIBLE_WITHIN_S, True

    def __init__(self, folder: Path, schema: Schema) -> None:
        self._folder = folder
        self._languages = {
            name: LANGUAGES[schema.text_fields[name].language] for name in schema.full_text_fields
        }
        self._index: LexicalIndex | None = None

    @property
    def index(self) -> LexicalIndex:
        if self._index is None:
            raise CorruptIndex("the lexical view is closed")
        return self._index

    def open(self) -> int | None:
        """After an error, searches see the last commit until the index is open again."""
        searched = self._index
        if searched is not None:
            searched.close()  # unlocks the folder
            if not searched.committed_seq:
                searched = None
        try:
            opened = self._open_index()
        except CorruptIndex:
            if searched is None:
                self.reset()
            return None
        if searched is not None and not opened.committed_seq:  # the folder was deleted
            opened.close()
            return None
        self._index = opened
        return opened.committed_seq or None

    def reset(self) -> None:
        self.close()
        delete_folder(self._folder)
        self._index = self._open_index()

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        texts = [(each.docno, self._texts(each.fields)) for each in added]
        self.index.apply(
            [(docno, fields) for docno, fields in texts if fields], [each.docno for each in removed]
        )

    def save(self, seq: int) -> None:
        self.index.commit(seq)

    def close(self) -> None:
        index, self._index = self._index, None
        if index is not None:
            index.close()

    def _open_index(self) -> LexicalIndex:
        return LexicalIndex(self._folder, list(self._languages), languages=self._languages)

    def _texts(self, fields: Mapping[str, object]) -> dict[str, str]:
        values = ((name, fields.get(name)) for name in self._languages)
        return {name: value for name, value in values if isinstance(value, str) and value}
