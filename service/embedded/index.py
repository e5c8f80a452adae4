"""One index of the embedded engine: documents, and a search structure for each searchable field.

The store is the source of truth, and the views follow its change log. A write is acknowledged when
it is committed, and visible to searches within a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pyroaring import BitMap

from service.disk_space import DiskFull, DiskSpace, Usage, is_disk_full
from service.embedded.engine_state import EngineState, bytes_by_part
from service.embedded.field_limit import FieldClaim, FieldLimit
from service.embedded.filters.index import CheckCancelled
from service.embedded.index_metadata import check_content, check_metadata, check_records
from service.embedded.pending_documents import DocumentEmbedder, PendingDocument
from service.embedded.queries import DenseQuery, IndexQuery, LexicalQuery, SparseQuery
from service.embedded.schema import Schema
from service.embedded.storage.operations import (
    ClearNamespace,
    CreateNamespace,
    Delete,
    DeleteVersion,
    DropNamespace,
    Keep,
    Operation,
    Put,
    VersionConflict,
)
from service.embedded.storage.store import Document, Store
from service.embedded.vectors.dense import DenseIndex
from service.embedded.vectors.sparse import SparseIndex
from service.embedded.views.corpus import CorpusStatisticsView
from service.embedded.views.filters import FilterView
from service.embedded.views.lexical import LexicalView
from service.embedded.views.vectors import VectorView
from service.embedded.views.view import View
from service.embedded.views.view_set import TemporarilyUnavailable, ViewSet
from service.indexes.records import WriteCounts
from service.inference.embedder import Embedder
from service.private_files import make_private_folder

T = TypeVar("T")

# More threads than spare cores only compete for the interpreter: on two cores, one is faster than
# two. Filtered searches have threads of their own, so that they do not delay the others.
SEARCH_THREADS = max(1, (os.cpu_count() or 1) // 2)
FILTER_THREADS, WRITE_THREADS = 2, 2
DELETE_PART = 100  # documents, of up to 40 kB
MAX_UPDATE_ATTEMPTS = 8  # of an update while the documents keep changing


class EmbeddedIndex:
    """Documents and their views, between `open` and `close`."""

    def __init__(
        self,
        folder: Path,
        schema: Schema,
        embedder: Embedder,
        disk_usage: Usage = shutil.disk_usage,
    ) -> None:
        self.folder = folder
        self._disk = DiskSpace(folder, disk_usage)
        self.schema = schema
        self.embedder = embedder
        self._document_embedder = DocumentEmbedder(schema, embedder)
        self.dimensions = {name: dense.dimension for name, dense in schema.dense_fields.items()}
        self.dimensions.update(dict.fromkeys(schema.semantic_fields, embedder.dimension))
        self.filters = FilterView(schema)
        self.lexical = LexicalView(folder / "lexical", schema) if schema.full_text_fields else None
        self.dense = {
            name: _dense_view(folder, name, embedder.dimension, "cosine", "f16")
            for name in schema.semantic_fields
        } | {
            name: _dense_view(folder, name, each.dimension, each.metric, "f32")
            for name, each in schema.dense_fields.items()
        }
        self.sparse = {
            name: VectorView("sparse", folder, name, SparseIndex) for name in schema.sparse_fields
        }
        self.corpora = {
            name: CorpusStatisticsView(folder, name, embedder) for name in schema.semantic_fields
        }

    # --- opening and closing -------------------------------------------------------------------

    def open(self) -> None:
        """Open the store and the views. Views that need a rebuild are rebuilt in the background."""
        make_private_folder(self.folder)
        path = self.folder / "records.db"
        check_records(path)
        self._view_set = ViewSet(self._disk)
        self.store = Store(path, self._view_set.wake)
        self._quick = ThreadPoolExecutor(SEARCH_THREADS, "search")
        self._slow = ThreadPoolExecutor(FILTER_THREADS, "filter")
        self._writing = ThreadPoolExecutor(WRITE_THREADS, "write")
        try:
            check_content(self.store, path)
            check_metadata(self.store, self.schema, self.embedder)
            self._view_set.start(self._views(), self.store)
            followed = self._view_set[self.filters]
            self._fields = FieldLimit(
                self.filters,
                lambda: followed.applied_seq,
                lambda: self._view_set.wait_for(self.filters, 0),
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Finish the pending writes, save every view, and close."""
        self._writing.shutdown()
        self._quick.shutdown()
        self._slow.shutdown()
        self._view_set.stop()
        self.store.close()

    def _views(self) -> list[View]:
        views: list[View] = [self.filters]
        if self.lexical:
            views.append(self.lexical)
        return [*views, *self.dense.values(), *self.sparse.values(), *self.corpora.values()]

    # --- writing -------------------------------------------------------------------------------

    async def upsert(self, namespace: str, documents: Sequence[PendingDocument]) -> WriteCounts:
        """Write documents, replacing those with the same ids.

        A document that is stored already, with the same fields, is neither embedded nor written
        again. All of the batch takes effect at once: if such a document changes before the
        COMMIT, every document is written.
        """
        changed, kept = await _run_in(self._writing, lambda: self._compare(namespace, documents))
        try:
            return await self._put(namespace, changed, kept)
        except VersionConflict:
            return await self._put(namespace, documents, [])

    async def _put(
        self, namespace: str, documents: Sequence[PendingDocument], kept: Sequence[Keep]
    ) -> WriteCounts:
        if not documents:  # all were there at the moment when they were compared
            return WriteCounts(unchanged=len(kept))
        with self._fields.claim() as claim:

            def puts_of_documents() -> list[Put]:
                claim.take(namespace, documents)
                return self._document_embedder.puts(namespace, documents)

            puts = await _run_in(self._writing, puts_of_documents)
            replaced = await self._write([*puts, *kept], claim)
        return WriteCounts(len(puts) - replaced, replaced, len(kept))

    def _compare(
        self, namespace: str, documents: Sequence[PendingDocument]
    ) -> tuple[list[PendingDocument], list[Keep]]:
        """The documents to write, and the versions that are stored already."""
        ids = [each.id for each in documents if each.json is not None and not each.vectors]
        stored = self.store.stored_json(namespace, ids) if ids else {}
        changed: list[PendingDocument] = []
        kept: list[Keep] = []
        for each in documents:
            docno, json = stored.get(each.id, (0, None))
            if json is not None and not each.vectors and _is_same(json, each.json):
                kept.append(Keep(docno))
            else:
                changed.append(each)
        self._require_space(changed)
        return changed, kept

    def _require_space(self, documents: Sequence[PendingDocument]) -> None:
        """Raise `DiskFull` if these documents would not leave the reserve free. It may block."""
        size = sum(len(each.json or b"") for each in documents)
        if documents and (shortage := self._shortage(size)):
            raise DiskFull(f"too little space on the disk is free for more records: {shortage}")

    def _shortage(self, size: int) -> str | None:
        if not self._disk.shortage(size):
            return None
        return self._disk.shortage(size, self.store.reusable_bytes())

    async def update(
        self, namespace: str, ids: Sequence[str], change: Callable[[Document], PendingDocument]
    ) -> int:
        """Replace documents by `change` of their current versions; retried if those change."""
        for _ in range(MAX_UPDATE_ATTEMPTS):
            with self._fields.claim() as claim:
                puts = await _run_in(
                    self._writing, partial(self._changed, namespace, ids, change, claim)
                )
                try:
                    await self._write(puts, claim)
                except VersionConflict:
                    continue
                return len(puts)
        raise TemporarilyUnavailable("the same documents keep changing; try again")

    async def delete(self, namespace: str, ids: Sequence[str]) -> int:
        return await self._write([Delete(namespace, id) for id in ids])

    async def delete_where(self, namespace: str, filter: Mapping[str, Any]) -> int:
        docnos = await self.select(namespace, filter)
        return await self._delete(namespace, filter, [DeleteVersion(each) for each in docnos])

    async def clear_namespace(self, namespace: str) -> int:
        return await self._delete(namespace, None, [ClearNamespace(namespace)])

    async def _delete(
        self, namespace: str, filter: Mapping[str, Any] | None, operations: Sequence[Operation]
    ) -> int:
        """Delete all at once; where the disk has too little space for that, in parts first.

        The log keeps what was deleted, until it is trimmed. A part uses the space of the last one.
        """
        try:
            return await self._write(operations)
        except sqlite3.Error as exc:
            if not is_disk_full(exc):
                raise
        deleted, docnos = 0, list(await self.select(namespace, filter))
        for start in range(0, len(docnos), DELETE_PART):
            part = docnos[start : start + DELETE_PART]
            deleted += await self._write([DeleteVersion(docno) for docno in part])
        return deleted + await self._write(operations)

    async def create_namespace(self, namespace: str) -> None:
        await self._write([CreateNamespace(namespace)])

    async def drop_namespace(self, namespace: str) -> None:
        """Delete a namespace with all its documents."""
        await self._delete(namespace, None, [ClearNamespace(namespace), DropNamespace(namespace)])

    async def wait_until_visible(self) -> None:
        """Wait until searches see every write so far."""
        seq = self.store.last_seq()
        await self._view_set.wait_until_visible(seq)

    async def _write(self, operations: Sequence[Operation], claim: FieldClaim | None = None) -> int:
        """Returns the number of documents that were deleted or replaced.

        `claim` has the new fields of the documents that are put.
        """
        if not operations:
            return 0
        if self._view_set.is_lagging():
            await _run_in(self._writing, self._view_set.wait_for_lagging_views)
        if claim is None:
            return (await self.store.write(operations)).removed
        claim.submitted()
        return (await self.store.write(operations, claim.ended)).removed

    def _changed(
        self,
        namespace: str,
        ids: Sequence[str],
        change: Callable[[Document], PendingDocument],
        claim: FieldClaim,
    ) -> list[Put]:
        documents = self.store.documents_by_id(namespace, ids)
        self.store.load_vectors(documents)
        changed = [change(each) for each in documents]
        self._require_space(changed)
        claim.take(namespace, changed)
        return self._document_embedder.puts(
            namespace,
            changed,
            expected_docnos=[each.docno for each in documents],
        )

    # --- reading ---------------------------------------------------------------------------------

    async def select(self, namespace: str, filter: Mapping[str, Any] | None) -> BitMap:
        """The numbers of the documents that match a filter, including those just written."""

        def found(check_cancelled: CheckCancelled) -> BitMap:
            seq = self.store.last_seq()
            self._view_set.wait_for(self.filters, seq)
            if self.lexical and filter and "$match_" in json.dumps(filter):
                self._view_set.wait_for(self.lexical, seq, visible=True)
            return self._select(namespace, filter, check_cancelled)

        return await run_cancellable(self._slow, found)

    async def search(
        self,
        namespace: str,
        query: IndexQuery,
        top_k: int,
        filter: Mapping[str, Any] | None = None,
    ) -> list[tuple[Document, float]]:
        """The best documents with their scores, best first."""
        unfiltered = not filter and self._view_set.require_complete(self.filters).has_only(
            namespace
        )

        def found(check_cancelled: CheckCancelled) -> list[tuple[Document, float]]:
            candidates = None
            if not unfiltered:
                candidates = self._select(namespace, filter, check_cancelled)
                check_cancelled()
            return self._search(namespace, query, top_k, candidates)

        return await run_cancellable(self._quick if unfiltered else self._slow, found)

    async def read(self, read: Callable[[Store], T]) -> T:
        """Run a read of the store in a thread."""
        return await _run_in(self._slow, lambda: read(self.store))

    async def count(self, namespace: str, filter: Mapping[str, Any]) -> int:
        return len(await self.select(namespace, filter))

    def dense_rebuild_progress(self) -> float | None:
        """The completed share of a rebuild that semantic searches wait for, or None."""
        return self._view_set.rebuild_progress([self.filters, *self.dense.values()])

    def lexical_rebuild_progress(self) -> float | None:
        """The completed share of a rebuild that lexical searches wait for, or None."""
        return self._view_set.rebuild_progress(
            [self.filters, *([self.lexical] if self.lexical else [])]
        )

    def view_failures(self) -> dict[str, str]:
        """The errors of the views that can't follow the log at present, by view."""
        return self._view_set.failures()

    def state(self) -> EngineState:
        """What the metrics report. It reads from the disk, so call it in a thread."""
        free, reserve = self._disk.measure()
        return EngineState(
            self.filters.count(),
            bytes_by_part(self.folder),
            free,
            reserve,
            self._view_set.states(),
        )

    def _search(
        self, namespace: str, query: IndexQuery, top_k: int, candidates: BitMap | None
    ) -> list[tuple[Document, float]]:
        found = self._rank(query, top_k, candidates)
        documents = self.store.documents_by_docno([docno for docno, _ in found])
        return [
            (documents[docno], score)
            for docno, score in found
            if docno in documents and documents[docno].namespace == namespace
        ]

    def _rank(
        self, query: IndexQuery, top_k: int, candidates: BitMap | None
    ) -> list[tuple[int, float]]:
        if isinstance(query, LexicalQuery):
            lexical = self._view_set.require_complete(self.lexical)
            return lexical.index.search(query.clauses, top_k, candidates, match_all=query.match_all)
        if isinstance(query, SparseQuery):
            sparse = self._view_set.require_complete(self.sparse[query.field])
            return sparse.index.search(query.indices, query.values, top_k, candidates)
        dense = self._view_set.require_complete(self.dense[query.field])
        if isinstance(query, DenseQuery):
            return dense.index.search(query.vector, top_k, candidates)
        corpus = self.corpora[query.field].corpus
        return dense.index.search(self.embedder.embed_query(query.text, corpus), top_k, candidates)

    def _select(
        self,
        namespace: str,
        filter: Mapping[str, Any] | None,
        check_cancelled: CheckCancelled,
    ) -> BitMap:
        filters = self._view_set.require_complete(self.filters)
        return filters.select(namespace, filter, self._match, check_cancelled)

    def _match(self, field: str, operator: str, text: str) -> BitMap:
        if field not in self.schema.full_text_fields:
            raise ValueError(f"{operator} on {field!r}: it is not a full-text field")
        return self._view_set.require_complete(self.lexical).index.match(field, operator, text)


def _is_same(stored: bytes, given: bytes | None) -> bool:
    """Whether two encodings have the same fields, in whatever order."""
    if stored == given:
        return True
    if given is None or len(stored) != len(given):
        return False
    first, second = (
        orjson.dumps(orjson.loads(each), option=orjson.OPT_SORT_KEYS) for each in (stored, given)
    )
    return first == second


async def _run_in(executor: ThreadPoolExecutor, call: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(executor, call)


async def run_cancellable(executor: ThreadPoolExecutor, call: Callable[[CheckCancelled], T]) -> T:
    """Run `call` in a thread. Once the caller is cancelled, its argument raises an exception."""
    is_cancelled = threading.Event()

    def check_cancelled() -> None:
        if is_cancelled.is_set():
            raise CancelledError("no caller waits for this any more")

    try:
        return await _run_in(executor, lambda: call(check_cancelled))
    except asyncio.CancelledError:
        is_cancelled.set()
        raise


def _dense_view(
    folder: Path, field: str, dimension: int, metric: str, dtype: str
) -> VectorView[DenseIndex]:
    """Embeddings are kept in 16 bits, the vectors of a caller in 32, also those of zeros."""
    new_index = partial(DenseIndex, dimension=dimension, metric=metric, dtype=dtype)
    return VectorView("dense", folder, field, new_index, skip_zeros=dtype == "f16")
