"""One index of the embedded engine: documents, and a search structure for each searchable field.

The store is the source of truth, and the views follow its change log. A write is acknowledged when
it is committed, and visible to searches within a second.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pyroaring import BitMap

from service.disk_space import DiskFull, DiskSpace, Usage
from service.embedded.deletion import delete_with_little_space
from service.embedded.engine_state import EngineState, bytes_by_part
from service.embedded.field_limit import FieldClaim, FieldLimit
from service.embedded.filters.index import CheckCancelled
from service.embedded.index_metadata import check_content, check_metadata, check_records
from service.embedded.index_views import IndexViews
from service.embedded.pending_documents import DocumentEmbedder, PendingDocument
from service.embedded.queries import IndexQuery
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
from service.embedded.threads import run_cancellable, run_in
from service.embedded.unchanged import find_unchanged
from service.embedded.views.view_set import TemporarilyUnavailable
from service.indexes.records import WriteCounts
from service.inference.embedder import Embedder
from service.private_files import make_private_folder

T = TypeVar("T")

# More threads than spare cores only compete for the interpreter: on two cores, one is faster than
# two. Filtered searches have threads of their own, so that they do not delay the others.
SEARCH_THREADS = max(1, (os.cpu_count() or 1) // 2)
FILTER_THREADS, WRITE_THREADS = 2, 2
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
        self.views = IndexViews(folder, schema, embedder, self._disk)

    # --- opening and closing -------------------------------------------------------------------

    def open(self) -> None:
        """Open the store and the views. Views that need a rebuild are rebuilt in the background."""
        make_private_folder(self.folder)
        path = self.folder / "records.db"
        check_records(path)
        self.store = Store(path, self.views.followed.wake)
        self._quick = ThreadPoolExecutor(SEARCH_THREADS, "search")
        self._slow = ThreadPoolExecutor(FILTER_THREADS, "filter")
        self._writing = ThreadPoolExecutor(WRITE_THREADS, "write")
        try:
            check_content(self.store, path)
            check_metadata(self.store, self.schema, self.embedder)
            self.views.start(self.store)
            filters, followed = self.views.filters, self.views.followed
            self._fields = FieldLimit(
                filters,
                lambda: followed[filters].applied_seq,
                lambda: followed.wait_for(filters, 0),
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Finish the pending writes, save every view, and close."""
        self._writing.shutdown()
        self._quick.shutdown()
        self._slow.shutdown()
        self.views.followed.stop()
        self.store.close()

    # --- writing -------------------------------------------------------------------------------

    async def upsert(self, namespace: str, documents: Sequence[PendingDocument]) -> WriteCounts:
        """Write documents, replacing those with the same ids.

        A document that is stored already, with the same fields, is neither embedded nor written
        again. All of the batch takes effect at once: if such a document changes before the
        COMMIT, every document is written.
        """
        changed, kept = await run_in(self._writing, lambda: self._compare(namespace, documents))
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

            puts = await run_in(self._writing, puts_of_documents)
            replaced = await self._write([*puts, *kept], claim)
        return WriteCounts(len(puts) - replaced, replaced, len(kept))

    def _compare(
        self, namespace: str, documents: Sequence[PendingDocument]
    ) -> tuple[list[PendingDocument], list[Keep]]:
        changed, kept = find_unchanged(self.store, namespace, documents)
        self._require_space(changed)
        return changed, kept

    def _require_space(self, documents: Sequence[PendingDocument]) -> None:
        """Raise `DiskFull` if these documents would not leave the reserve free. It may block."""
        size = sum(len(each.json or b"") for each in documents)
        if not documents or not self._disk.shortage(size):
            return
        if shortage := self._disk.shortage(size, self.store.reusable_bytes()):
            raise DiskFull(f"too little space on the disk is free for more records: {shortage}")

    async def update(
        self, namespace: str, ids: Sequence[str], change: Callable[[Document], PendingDocument]
    ) -> int:
        """Replace documents by `change` of their current versions; retried if those change."""
        for _ in range(MAX_UPDATE_ATTEMPTS):
            with self._fields.claim() as claim:
                puts = await run_in(
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
        selected = partial(self.select, namespace, filter)
        return await delete_with_little_space(operations, self._write, selected)

    async def create_namespace(self, namespace: str) -> None:
        await self._write([CreateNamespace(namespace)])

    async def drop_namespace(self, namespace: str) -> None:
        """Delete a namespace with all its documents."""
        await self._delete(namespace, None, [ClearNamespace(namespace), DropNamespace(namespace)])

    async def wait_until_visible(self) -> None:
        """Wait until searches see every write so far."""
        seq = self.store.last_seq()
        await self.views.followed.wait_until_visible(seq)

    async def _write(self, operations: Sequence[Operation], claim: FieldClaim | None = None) -> int:
        """Returns the number of documents that were deleted or replaced.

        `claim` has the new fields of the documents that are put.
        """
        if not operations:
            return 0
        if self.views.followed.is_lagging():
            await run_in(self._writing, self.views.followed.wait_for_lagging_views)
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
            self.views.wait_for_filter(seq, filter)
            return self.views.select(namespace, filter, check_cancelled)

        return await run_cancellable(self._slow, found)

    async def search(
        self,
        namespace: str,
        query: IndexQuery,
        top_k: int,
        filter: Mapping[str, Any] | None = None,
    ) -> list[tuple[Document, float]]:
        """The best documents with their scores, best first."""
        unfiltered = not filter and self.views.has_only(namespace)

        def found(check_cancelled: CheckCancelled) -> list[tuple[Document, float]]:
            candidates = None
            if not unfiltered:
                candidates = self.views.select(namespace, filter, check_cancelled)
                check_cancelled()
            return self._search(namespace, query, top_k, candidates)

        return await run_cancellable(self._quick if unfiltered else self._slow, found)

    async def read(self, read: Callable[[Store], T]) -> T:
        """Run a read of the store in a thread."""
        return await run_in(self._slow, lambda: read(self.store))

    async def count(self, namespace: str, filter: Mapping[str, Any]) -> int:
        return len(await self.select(namespace, filter))

    def state(self) -> EngineState:
        """What the metrics report. It reads from the disk, so call it in a thread."""
        free, reserve = self._disk.measure()
        records, sizes = self.views.filters.count(), bytes_by_part(self.folder)
        return EngineState(records, sizes, free, reserve, self.views.followed.states())

    def _search(
        self, namespace: str, query: IndexQuery, top_k: int, candidates: BitMap | None
    ) -> list[tuple[Document, float]]:
        found = self.views.rank(query, top_k, candidates)
        documents = self.store.documents_by_docno([docno for docno, _ in found])
        return [
            (documents[docno], score)
            for docno, score in found
            if docno in documents and documents[docno].namespace == namespace
        ]
