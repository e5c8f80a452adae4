"""One index of the embedded engine: records with one text field, found by meaning and by words.

Speaks `indexes/port.py`, so that what calls it can't tell it from Pinecone's client: the same
arguments, answers and exceptions. The store is the truth; the columns, the dense view and the
lexical view follow its log, in its order, told by the thread that writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pinecone.errors import ApiError, PineconeValueError, ServiceError
from pinecone.models.vectors.responses import DescribeIndexStatsResponse, NamespaceSummary
from pinecone.models.vectors.search import (
    Hit,
    SearchRecordsResponse,
    SearchResult,
    SearchUsage,
)
from pyroaring import BitMap

from service.embedded.dense import DenseView
from service.embedded.documents import EmbeddedDocuments, chosen
from service.embedded.filters import Columns
from service.embedded.lexical import DamagedView, LexicalView, Words
from service.embedded.store import Applied, Document, Put, Store
from service.errors import StartupFailed
from service.inference.embedders import Corpus, Embedder

logger = logging.getLogger(__name__)

DEFAULT_NAMESPACE = "__default__"
VISIBLE_WITHIN_S = 0.3  # how long a write may wait until words find it
SAVE_EVERY = 20_000  # changes between two saves of the dense view: a start-up applies no more again


class EmbeddedIndex:
    """Opened by `open`, which rebuilds whatever view is missing; closed by `close`."""

    def __init__(self, folder: Path, text_field: str, embedder: Embedder) -> None:
        self.folder = folder
        self._field = text_field
        self._embedder = embedder
        self._state = threading.RLock()
        self._columns = Columns(left_out=[text_field])
        self._dense = DenseView(folder / "dense", embedder.dimension)
        self._corpus = Corpus()
        self._stopping = threading.Event()
        self._dirty = threading.Event()
        self._unsaved = 0
        self._seq = 0
        self._behind = False
        self.documents = EmbeddedDocuments(self)

    # --- opening and closing -------------------------------------------------------------------

    def open(self) -> None:
        """Open the store, and bring every view to where the store is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            self._store = Store(self.folder / "records.db", self._follow)
            undo.callback(self._store.close)
            self._check_embedder()
            for batch in self._store.scan():
                self._enter(batch)
            self._open_dense()
            self._lexical = self._open_lexical()
            undo.callback(self._lexical.close)
            self._catch_up_lexical()
            undo.pop_all()
        self._keeper = threading.Thread(target=self._keep, name=f"keep {self.folder.name}")
        self._keeper.start()

    async def close(self) -> None:
        """Finish what is being written, save the views, close."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._stopping.set()
        self._dirty.set()
        self._keeper.join()
        self._store.finish()
        self._show()
        self._save()
        self._lexical.close()
        self._store.close()

    def _check_embedder(self) -> None:
        known = self._store.fact("embedder") or self._store.fact("embedder", self._embedder.name)
        if known != self._embedder.name:
            raise StartupFailed(
                f"{self.folder} holds vectors of {known}, which can't be compared with those of "
                f"{self._embedder.name}: use another DATA_DIR, or the embedder it was made with"
            )

    def _open_dense(self) -> None:
        if self._dense.load():
            missed = self._store.changes(self._dense.applied, self._field)
            self._follow_dense(missed)
            self._unsaved = len(missed.added) + len(missed.removed)
            return
        for batch in self._store.scan(self._field):
            self._follow_dense(Applied(0, batch, []))
            self._unsaved += len(batch)

    def _open_lexical(self) -> LexicalView:
        folder = self.folder / "lexical"
        try:
            return LexicalView(folder, [self._field])
        except DamagedView:
            logger.warning("the lexical view in %s is damaged: rebuilding it", folder)
            shutil.rmtree(folder)
            return LexicalView(folder, [self._field])

    def _catch_up_lexical(self) -> None:
        if self._lexical.applied:
            self._follow_lexical(self._store.changes(self._lexical.applied))
        else:
            for batch in self._store.scan():
                self._follow_lexical(Applied(0, batch, []))
        self._seq = self._store.seq()
        self._lexical.commit(self._seq)

    # --- following the log ---------------------------------------------------------------------

    def _follow(self, applied: Applied) -> None:
        """Called by the store's writer, change by change."""
        with self._state, self._behind_if_it_fails():
            for document in applied.removed:
                self._columns.remove(document.docno, document.namespace, document.fields)
            self._embedder.count([_text(d, self._field) for d in applied.removed], self._corpus, -1)
            self._enter(applied.added)
            self._follow_dense(applied)
            self._follow_lexical(applied)
            self._unsaved += len(applied.added) + len(applied.removed)
            self._seq = applied.seq
        self._dirty.set()

    @contextlib.contextmanager
    def _behind_if_it_fails(self) -> Iterator[None]:
        """A view that missed a change is not saved any more: the next start catches up."""
        try:
            yield
        except BaseException:
            self._behind = True
            raise

    def _enter(self, documents: Sequence[Document]) -> None:
        for document in documents:
            self._columns.add(document.docno, document.namespace, document.fields)
        self._embedder.count([_text(each, self._field) for each in documents], self._corpus, 1)

    def _follow_dense(self, applied: Applied) -> None:
        vectors = [(each.docno, each.vectors.get(self._field, b"")) for each in applied.added]
        self._dense.apply(
            [(docno, raw) for docno, raw in vectors if raw.strip(b"\0")],  # not of an empty text
            [each.docno for each in applied.removed],
        )

    def _follow_lexical(self, applied: Applied) -> None:
        texts = [(each.docno, _text(each, self._field)) for each in applied.added]
        self._lexical.apply(
            [(docno, {self._field: text}) for docno, text in texts],
            [each.docno for each in applied.removed],
        )

    def _keep(self) -> None:
        """Make writes visible to words soon, and save the dense view now and then."""
        while not self._stopping.is_set():
            self._dirty.wait()
            if self._stopping.wait(VISIBLE_WITHIN_S):
                return
            self._dirty.clear()
            self._show()
            if self._unsaved >= SAVE_EVERY:
                self._save()

    # --- what the port is made of ----------------------------------------------------------------

    async def write(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> int:
        """Write records with their embeddings; returns how many, once they are committed."""
        puts = await asyncio.to_thread(self._puts, namespace or DEFAULT_NAMESPACE, records)
        with _trouble_told():
            await self._store.write(puts)
        return len(puts)

    async def show(self) -> None:
        """Make everything that was written visible to words at once."""
        await asyncio.to_thread(self._show)

    async def find(
        self, clause: str, query: str, namespace: str, top_k: int, filter: Mapping[str, Any] | None
    ) -> list[tuple[Document, float]]:
        """The best records with their scores: by meaning (`embed`) or by words (`text`)."""
        with _trouble_told():
            return await asyncio.to_thread(
                self._find, clause, query, namespace or DEFAULT_NAMESPACE, top_k, filter
            )

    async def describe_index_stats(
        self, *, timeout: float | None = None
    ) -> DescribeIndexStatsResponse:
        with self._state:
            counts = self._columns.namespaces()
        return DescribeIndexStatsResponse(
            namespaces={name: NamespaceSummary(vector_count=n) for name, n in counts.items()},
            dimension=self._embedder.dimension,
            total_vector_count=sum(counts.values()),
            metric="cosine",
            vector_type="dense",
        )

    async def search(
        self,
        *,
        namespace: str,
        top_k: int | None = None,
        inputs: Mapping[str, Any] | None = None,
        filter: Mapping[str, Any] | None = None,
        fields: Sequence[str] | None = None,
        rerank: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> SearchRecordsResponse:
        """The records dialect, by meaning."""
        if not inputs or not top_k:
            raise PineconeValueError("inputs and top_k are required")
        if rerank is not None:
            raise PineconeValueError("this index does not rerank inside of a search")
        found = await self.find("embed", inputs["text"], namespace, top_k, filter)
        return SearchRecordsResponse(
            result=SearchResult(
                hits=[
                    Hit(id_=each.id, score_=score, fields=chosen(each.fields, fields or ("*",)))
                    for each, score in found
                ]
            ),
            usage=SearchUsage(read_units=0),
        )

    def _show(self) -> None:
        with self._state:
            if not self._behind:
                self._lexical.commit(self._seq)

    def _save(self) -> None:
        with self._state:
            if self._unsaved and not self._behind:
                self._dense.save(self._seq)
                self._unsaved = 0

    def _puts(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> list[Put]:
        texts = [str(record.get(self._field) or "") for record in records]
        vectors = self._embedder.embed(texts)
        return [
            Put(
                namespace,
                str(record["_id"]),
                {name: value for name, value in record.items() if name != "_id"},
                {self._field: vector.tobytes()},
            )
            for record, vector in zip(records, vectors, strict=True)
        ]

    def _find(
        self, clause: str, query: str, namespace: str, top_k: int, filter: Mapping[str, Any] | None
    ) -> list[tuple[Document, float]]:
        with self._state:
            everywhere = self._columns.namespaces().keys() <= {namespace}
            among = None if everywhere and not filter else self._select(namespace, filter)
        if clause == "embed":
            vector = self._embedder.embed_query(query, self._corpus)
            found = self._dense.search(vector, top_k, among)
        else:
            found = self._lexical.search([Words(query, ())], top_k, among)
        bodies = self._store.documents([docno for docno, _ in found])
        return [(bodies[docno], score) for docno, score in found if docno in bodies]

    def _select(self, namespace: str, filter: Mapping[str, Any] | None) -> BitMap:
        try:
            return self._columns.select(namespace, filter)
        except ValueError as exc:
            raise ApiError(str(exc), 400) from exc


@contextlib.contextmanager
def _trouble_told() -> Iterator[None]:
    """What the files below can't do is said in the port's words: the index is not to be had now."""
    try:
        yield
    except (sqlite3.Error, DamagedView) as exc:
        raise ServiceError(f"{type(exc).__name__}: {exc}", 503) from exc


def _text(document: Document, field: str) -> str:
    value = document.fields.get(field)
    return value if isinstance(value, str) else ""
