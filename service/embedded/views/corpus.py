"""The view for query weighting: how common each token is in the texts of one field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.embedded.storage.checkpoint_files import CheckpointFiles
from service.embedded.storage.store import Document
from service.embedded.views.view import View, delete_folder, field_folder
from service.inference.embedder import CorpusStatistics, Embedder


class CorpusStatisticsView(View):
    """Keeps the `CorpusStatistics` of one field up to date."""

    def __init__(self, folder: Path, field: str, embedder: Embedder) -> None:
        self.name = f"the statistics of {field!r}"
        self._field = field
        self._folder = field_folder(folder, "corpus", field)
        self._checkpoints = CheckpointFiles(self._folder, ".corpus", f"corpus {embedder.name}")
        self._embedder = embedder
        self.corpus = CorpusStatistics()

    def open(self) -> int | None:
        for seq, content in self._checkpoints.read():
            try:
                self.corpus = CorpusStatistics.from_bytes(bytes(content))
            except ValueError:
                continue
            return seq
        return None

    def reset(self) -> None:
        delete_folder(self._folder)
        self.corpus = CorpusStatistics()

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        for documents, sign in ((added, 1), (removed, -1)):
            values = [each.fields.get(self._field) for each in documents]
            texts = [value if isinstance(value, str) else "" for value in values]
            self._embedder.count(texts, self.corpus, sign)

    def save(self, seq: int) -> None:
        self._checkpoints.write(seq, [self.corpus.to_bytes()])
