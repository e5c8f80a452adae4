"""What an index is searched by: each kind of search structure, as a view that can be led."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyroaring import BitMap

from service.embedded.filters.index import FilterIndex, Match
from service.embedded.lexical.index import CorruptIndex, LexicalIndex
from service.embedded.schema import LANGUAGES, Schema
from service.embedded.storage.checkpoint_files import CheckpointFiles
from service.embedded.storage.store import Document
from service.embedded.vectors.dense import DenseIndex
from service.embedded.vectors.sparse import SparseIndex
from service.inference.embedder import CorpusStatistics, Embedder

AT_ONCE = 64  # documents that are entered into the columns before a search may look at them again
SOON_S, LATER_S = 0.3, 300.0
SELDOM = 10_000
ATTEMPTS = 5  # at removing a folder


class FilterView:
    """Who has which value. It is in memory alone, and read anew at every start."""

    name = "the columns"
    vector_field: str | None = None
    save_every, save_within_s, shown_by_saving = SELDOM, SOON_S, False

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._lock = threading.Lock()
        self._columns = FilterIndex(left_out=list(schema.text_fields))

    def open(self) -> int | None:
        return None

    def reset(self) -> None:
        with self._lock:
            self._columns = FilterIndex(left_out=list(self._schema.text_fields))

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        steps = [(self._columns.remove, each) for each in removed]
        steps += [(self._columns.add, each) for each in added]
        for start in range(0, len(steps), AT_ONCE):
            with self._lock:
                for change, document in steps[start : start + AT_ONCE]:
                    change(document.docno, document.namespace, document.fields)

    def save(self, seq: int) -> None:
        """There is nothing to save: the next start reads the documents."""

    def close(self) -> None:
        """There is nothing to close."""

    def has_only(self, namespace: str) -> bool:
        """Without the lock, which a filter may hold for long: the event loop asks this."""
        return self._columns.has_only(namespace)

    def select(
        self, namespace: str, filter: Mapping[str, Any] | None, match: Match | None
    ) -> BitMap:
        with self._lock:
            return self._columns.select(namespace, filter, match)


class LexicalView:
    """Every worded field, in one lexical index."""

    name = "the lexical view"
    vector_field: str | None = None
    save_every, save_within_s, shown_by_saving = 5_000, SOON_S, True

    def __init__(self, folder: Path, schema: Schema) -> None:
        self._folder = folder
        self._fields = schema.full_text_fields
        self._languages = {
            name: LANGUAGES[schema.text_fields[name].language] for name in schema.full_text_fields
        }
        self._lexical: LexicalIndex | None = None

    @property
    def lexical(self) -> LexicalIndex:
        if self._lexical is None:
            raise CorruptIndex("the lexical view is closed")
        return self._lexical

    def open(self) -> int | None:
        try:
            self._lexical = self._opened()
        except CorruptIndex:
            self.reset()
        return self.lexical.applied or None

    def reset(self) -> None:
        self.close()
        _remove(self._folder)
        self._lexical = self._opened()

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        texts = [(each.docno, _texts(each, self._fields)) for each in added]
        self.lexical.apply(
            [(docno, fields) for docno, fields in texts if fields], [each.docno for each in removed]
        )

    def save(self, seq: int) -> None:
        self.lexical.commit(seq)

    def close(self) -> None:
        lexical, self._lexical = self._lexical, None
        if lexical is not None:
            lexical.close()

    def _opened(self) -> LexicalIndex:
        return LexicalIndex(self._folder, self._fields, languages=self._languages)


class DenseView:
    """The vectors of one field: those of its texts, or those that the caller brings."""

    save_within_s, shown_by_saving = LATER_S, False

    def __init__(self, folder: Path, field: str, dimension: int, metric: str, *, raw: bool) -> None:
        self.name = f"the dense view of {field!r}"
        self.vector_field: str | None = field
        self._field = field
        self._folder = folder
        self._dimension = dimension
        self._metric = metric
        self._dtype = "f32" if raw else "f16"
        self._raw = raw
        self.dense = self._empty()

    def open(self) -> int | None:
        self.dense = self._empty()
        return self.dense.applied if self.dense.load() else None

    def reset(self) -> None:
        _remove(self._folder)
        self.dense = self._empty()

    def _empty(self) -> DenseIndex:
        return DenseIndex(self._folder, self._dimension, self._metric, dtype=self._dtype)

    @property
    def save_every(self) -> int:
        """The larger it is, the longer it takes to save, and the less often it is worth that."""
        return max(SELDOM, len(self.dense) // 5)

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        vectors = [(each.docno, each.vectors.get(self._field, b"")) for each in added]
        self.dense.apply(
            [(docno, vector) for docno, vector in vectors if self._says_something(vector)],
            [each.docno for each in removed],
        )

    def _says_something(self, vector: bytes) -> bool:
        """The vector of an empty text is zero. A zero that the caller brings is a vector."""
        return bool(vector if self._raw else vector.strip(b"\0"))

    def save(self, seq: int) -> None:
        self.dense.save(seq)

    def close(self) -> None:
        """What is in memory goes with the object."""


class SparseView:
    """The raw sparse vectors of one field."""

    save_every, save_within_s, shown_by_saving = SELDOM, LATER_S, False

    def __init__(self, folder: Path, field: str) -> None:
        self.name = f"the sparse view of {field!r}"
        self.vector_field: str | None = field
        self._field = field
        self._folder = folder
        self.sparse = SparseIndex(folder)

    def open(self) -> int | None:
        self.sparse = SparseIndex(self._folder)
        return self.sparse.applied if self.sparse.load() else None

    def reset(self) -> None:
        _remove(self._folder)
        self.sparse = SparseIndex(self._folder)

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        vectors = [(each.docno, each.vectors.get(self._field)) for each in added]
        self.sparse.apply(
            [(docno, raw) for docno, raw in vectors if raw], [each.docno for each in removed]
        )

    def save(self, seq: int) -> None:
        self.sparse.save(seq)

    def close(self) -> None:
        """What is in memory goes with the object."""


class CorpusStatisticsView:
    """What is common in the texts of one field: queries are weighted by it."""

    vector_field: str | None = None
    save_every, save_within_s, shown_by_saving = SELDOM, LATER_S, False

    def __init__(self, folder: Path, field: str, embedder: Embedder) -> None:
        self.name = f"the statistics of {field!r}"
        self._field = field
        self._folder = folder
        self._files = CheckpointFiles(folder, ".corpus", f"corpus {embedder.name}")
        self._embedder = embedder
        self.corpus = CorpusStatistics()

    def open(self) -> int | None:
        for seq, content in self._files.read():
            try:
                self.corpus = CorpusStatistics.from_bytes(bytes(content))
            except ValueError:
                continue
            return seq
        return None

    def reset(self) -> None:
        _remove(self._folder)
        self.corpus = CorpusStatistics()

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        for documents, by in ((added, 1), (removed, -1)):
            texts = [_texts(each, [self._field]).get(self._field, "") for each in documents]
            self._embedder.count(texts, self.corpus, by)

    def save(self, seq: int) -> None:
        self._files.write(seq, [self.corpus.to_bytes()])

    def close(self) -> None:
        """What is in memory goes with the object."""


def delete_views(folder: Path) -> None:
    """Of an index that nobody has open; the next start makes them again from what is stored."""
    for kind in ("lexical", "dense", "sparse", "corpus"):
        _remove(folder / kind)


def _remove(folder: Path) -> None:
    """What is saved is of no use; a later start must not take it for this store's."""
    for _ in range(ATTEMPTS):  # a thread of tantivy's may still leave a file there
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    shutil.rmtree(folder)


def _texts(document: Document, fields: Sequence[str]) -> dict[str, str]:
    values = ((name, document.fields.get(name)) for name in fields)
    return {name: value for name, value in values if isinstance(value, str) and value}
