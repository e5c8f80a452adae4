"""The records of an index and the log of their changes, in SQLite.

A record is a namespace, an id, fields as JSON, and vectors as bytes. Each version of a record is a
document with a number (`docno`) that is never reused. Each added or removed document is a change
with a sequence number (`seq`). A removed document stays in the change log until the log is trimmed,
so a view that lags behind sees the same changes as any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from pyroaring import BitMap

from service.embedded.storage.connections import Connections
from service.embedded.storage.operations import Operation, WriteResult
from service.embedded.storage.writer import Writer
from service.private_files import make_private_file

SELECT_DOCUMENTS = "SELECT docno, namespace, id, fields FROM documents WHERE "
LIST_PARAMETER = "(SELECT value FROM json_each(?))"
# An added document is in `documents` or, if it was removed since, in the log entry of its removal.
SELECT_CHANGES = """
SELECT c.seq, c.added, c.docno, coalesce(c.namespace, d.namespace, gone.namespace),
    coalesce(c.id, d.id, gone.id), coalesce(c.fields, d.fields, gone.fields)
FROM changes c
LEFT JOIN documents d ON c.added AND d.docno = c.docno
LEFT JOIN changes gone
    ON c.added AND d.docno IS NULL AND gone.docno = c.docno AND gone.added = 0
WHERE c.seq > ? ORDER BY c.seq LIMIT ?
"""


class Document(NamedTuple):
    """One version of a record."""

    docno: int
    namespace: str
    id: str
    fields: dict[str, Any]
    vectors: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """The changes up to `seq`, without documents that were added and removed within the batch."""

    seq: int
    added: list[Document]
    removed: list[Document]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All documents as of `seq`, in batches."""

    seq: int
    total: int
    batches: Iterator[list[Document]]


class Store:
    """The records of one index, in one file. `on_commit` is called by the writing thread.

    If the disk is full when it is opened, it can only be read, and `is_read_only` is true until
    there is space again.
    """

    def __init__(self, path: Path, on_commit: Callable[[], None] = lambda: None) -> None:
        make_private_file(path)
        self._connections = Connections(path, self._attempt_writing)
        self._writer = Writer(path.name, self._connections.connect_writer, on_commit)

    async def write(
        self,
        operations: Sequence[Operation],
        on_end: Callable[[int | None], None] = lambda _: None,
    ) -> WriteResult:
        """Write all operations or none, and return after COMMIT.

        The write still happens if the caller is cancelled. `on_end` is called when it has ended,
        with its sequence number, or with None if it has failed.
        """

        def ended(done: Future[WriteResult]) -> None:
            on_end(None if done.exception() else done.result().seq)

        writing = self._writer.submit(operations)
        writing.add_done_callback(ended)
        return await asyncio.shield(asyncio.wrap_future(writing))

    def submit(self, operations: Sequence[Operation]) -> None:
        """Enqueue a write without waiting for it."""
        self._writer.submit(operations)

    def write_sync(self, operations: Sequence[Operation]) -> None:
        """Write from a thread, and return after COMMIT."""
        self._writer.submit(operations).result()

    def close(self) -> None:
        """Finish the writes in the queue, and close the file."""
        self._writer.close()
        self._connections.close()

    @property
    def is_read_only(self) -> bool:
        return self._connections.are_read_only

    def _attempt_writing(self) -> None:
        """Have the writer look whether there is space again."""
        with contextlib.suppress(sqlite3.ProgrammingError):  # it is closed
            self._writer.submit([])

    # --- documents -------------------------------------------------------------------------------

    def documents_by_docno(self, docnos: Sequence[int]) -> dict[int, Document]:
        """Return those of the documents that are current."""
        found = self._select("docno IN " + LIST_PARAMETER, _json_list(docnos))
        return {document.docno: document for document in found}

    def documents_by_id(self, namespace: str, ids: Sequence[str]) -> list[Document]:
        """Return the records that exist, in no particular order."""
        return self._select("namespace = ? AND id IN " + LIST_PARAMETER, namespace, _json_list(ids))

    def stored_json(self, namespace: str, ids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        """Return the docno and the encoded fields of the records that exist, by id."""
        rows = self._rows(
            "SELECT id, docno, fields FROM documents WHERE namespace = ? AND id IN "  # noqa: S608
            + LIST_PARAMETER,
            *(namespace, _json_list(ids)),
        )
        return {id: (docno, fields) for id, docno, fields in rows}

    def load_vectors(self, documents: Sequence[Document], field: str | None = None) -> None:
        """Fill in the vectors of one field, or of all fields."""
        condition = "" if field is None else " AND field = ?"
        rows = self._rows(
            f"SELECT docno, field, vector FROM vectors WHERE docno IN {LIST_PARAMETER}{condition}",  # noqa: S608 - constants
            _json_list([each.docno for each in documents]),
            *([] if field is None else [field]),
        )
        by_docno = {each.docno: each.vectors for each in documents}
        for docno, name, vector in rows:
            by_docno[docno][name] = vector

    def list_ids(self, namespace: str, prefix: str, after: str, limit: int) -> list[str]:
        """Return the next ids after `after` that start with `prefix`, in order."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else chr(sys.maxunicode)
        rows = self._rows(
            "SELECT id FROM documents WHERE namespace = ? AND id > ? AND id >= ? AND id < ?"
            " ORDER BY id LIMIT ?",
            *(namespace, after, prefix, end, limit),
        )
        return [row[0] for row in rows]

    def last_docno(self) -> int:
        """Return the number of the document that was added last."""
        return self._last_value("documents")

    def page(
        self, namespace: str, after: str, limit: int, candidates: BitMap, newer_than: int
    ) -> list[Document]:
        """Return the next documents by id: candidates, and all with a docno above `newer_than`."""
        with self._connections.read_transaction() as connection:
            rows = connection.execute(
                "SELECT docno FROM documents WHERE namespace = ? AND id > ? ORDER BY id",
                (namespace, after),
            )
            wanted = (docno for (docno,) in rows if docno in candidates or docno > newer_than)
            docnos = list(islice(wanted, limit))
            rows.close()
            found = self.documents_by_docno(docnos)
        return [found[docno] for docno in docnos]

    def namespace_counts(self) -> dict[str, int]:
        """Return how many records each namespace has, which may be 0 if it was created."""
        counts = {name: 0 for (name,) in self._rows("SELECT name FROM namespaces")}
        counts.update(self._rows("SELECT namespace, count(*) FROM documents GROUP BY namespace"))
        return counts

    def metadata(self, name: str) -> str | None:
        """Return the value that `SetMetadata` stored under a name."""
        rows = self._rows("SELECT value FROM facts WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def integrity_errors(self) -> list[str]:
        """Run SQLite's integrity check, and return the errors that it finds."""
        try:
            found = [str(row[0]) for row in self._rows("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as exc:  # too damaged to be checked
            return [str(exc)]
        return [] if found == ["ok"] else found

    def reusable_bytes(self) -> int:
        """Return the size of the pages in the file that hold nothing any more."""
        with self._connections.reading() as connection:
            (pages,) = connection.execute("PRAGMA freelist_count").fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()
        return int(pages * size)

    # --- the change log --------------------------------------------------------------------------

    def last_seq(self) -> int:
        """Return the sequence number of the last change."""
        return self._last_value("changes")

    def log_trimmed_to(self) -> int:
        """Return the sequence number up to which the log was trimmed.

        A view that has applied less than this can't catch up from the log.
        """
        return int(self.metadata("log_starts_after") or 0)

    def changes(self, after: int, limit: int, vector_field: str | None = None) -> ChangeBatch:
        """Return the next changes, with the added documents' vectors of one field on request.

        Vectors are read in a second query: a document that was removed in between has none.
        """
        rows = self._rows(SELECT_CHANGES, after, limit)
        added_docnos = {row[2] for row in rows if row[1]}
        removed_docnos = {row[2] for row in rows if not row[1]}
        transient = added_docnos & removed_docnos
        found = [(bool(row[1]), _document(row[2:])) for row in rows if row[2] not in transient]
        added = [document for was_added, document in found if was_added]
        if vector_field is not None:
            self.load_vectors(added, vector_field)
        removed = [document for was_added, document in found if not was_added]
        return ChangeBatch(rows[-1][0] if rows else after, added, removed)

    @contextlib.contextmanager
    def snapshot(self, vector_field: str | None = None, batch: int = 500) -> Iterator[Snapshot]:
        """Read all documents as of now, unaffected by later writes."""
        with self._connections.read_transaction() as connection:
            seq = self.last_seq()
            (total,) = connection.execute("SELECT count(*) FROM documents").fetchone()
            yield Snapshot(seq, total, self._batches(vector_field, batch))

    def _batches(self, vector_field: str | None, batch: int) -> Iterator[list[Document]]:
        last = 0
        while found := self._select("docno > ? ORDER BY docno LIMIT ?", last, batch):
            if vector_field is not None:
                self.load_vectors(found, vector_field)
            last = found[-1].docno
            yield found

    # --- queries ---------------------------------------------------------------------------------

    def _select(self, where: str, *values: Any) -> list[Document]:
        return [_document(row) for row in self._rows(SELECT_DOCUMENTS + where, *values)]

    def _last_value(self, table: str) -> int:
        rows = self._rows("SELECT seq FROM sqlite_sequence WHERE name = ?", table)
        return int(rows[0][0]) if rows else 0

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._connections.reading() as connection:
            return connection.execute(sql, values).fetchall()


def _json_list(values: Sequence[int] | Sequence[str]) -> str:
    return orjson.dumps(values).decode()


def _document(row: Any) -> Document:
    return Document(row[0], row[1], row[2], orjson.loads(row[3]), {})
