"""The records of an index and the log of their changes, in SQLite.

A record is a namespace, an id, fields as JSON, and vectors as bytes. Each version of a record is a
document with a number (`docno`) that is never reused. Each added or removed document is a change
with a sequence number (`seq`). A removed document stays in the change log until the log is trimmed,
so a view that lags behind sees the same changes as any other.

Each thread reads over a connection of its own. In WAL mode, readers and the writer do not block
each other. That takes a little space on the disk. Without any, all threads read over one
connection, one at a time, until there is space again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from pyroaring import BitMap

from service.disk_space import is_disk_full
from service.embedded.storage.database import connect, connect_exclusive, create_tables
from service.embedded.storage.operations import Operation, WriteResult
from service.embedded.storage.writer import Writer
from service.private_files import make_private_file

logger = logging.getLogger(__name__)

EXCLUSIVE_WAIT_S = 0.5  # for the read that uses the only connection
ATTEMPT_EVERY_S = 1.0

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


class _Reader:
    """A connection, with the lock that keeps others from closing it during a query."""

    __slots__ = ("connection", "in_use", "is_closed")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.in_use = threading.RLock()
        self.is_closed = False

    def close(self) -> None:
        """The caller holds the lock: closing a connection during a query crashes the process."""
        self.is_closed = True
        self.connection.close()


class Store:
    """The records of one index, in one file. `on_commit` is called by the writing thread.

    If the disk is full when it is opened, it can only be read, and `is_read_only` is true until
    there is space again.
    """

    def __init__(self, path: Path, on_commit: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._local = threading.local()
        self._readers: list[_Reader] = []
        self._readers_lock = threading.Lock()
        self._closed = False
        self._only_reader: _Reader | None = None
        self._next_attempt = time.monotonic() + ATTEMPT_EVERY_S
        make_private_file(path)
        try:
            self._open()
        except BaseException:
            self._close_readers()
            raise
        self._writer = Writer(path.name, self._connect_writer, on_commit)

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
        self._close_readers()

    @property
    def is_read_only(self) -> bool:
        return self._only_reader is not None

    def _open(self) -> None:
        try:
            with self._reading() as connection:
                create_tables(connection)
        except sqlite3.Error as exc:
            if not is_disk_full(exc) or not self._path.exists() or not self._path.stat().st_size:
                raise
            with self._readers_lock:
                self._only_reader = _Reader(connect_exclusive(self._path))
            logger.warning("there is no space left for writing to %s: it is read-only", self._path)
            create_tables(self._only_reader.connection)

    def _connect_writer(self) -> sqlite3.Connection:
        """Connect the writer. If there is space again, each thread gets a reader of its own."""
        with self._readers_lock:
            if self._only_reader is None:
                return connect(self._path)
            if not self._only_reader.in_use.acquire(timeout=EXCLUSIVE_WAIT_S):
                raise OSError(errno.ENOSPC, "No space left; a read has to end before it is tried")
            only = self._only_reader
            try:
                only.close()
                connection = connect(self._path)
                self._only_reader = None
            except sqlite3.Error:
                self._only_reader = _Reader(connect_exclusive(self._path))
                raise
            finally:
                only.in_use.release()
        logger.warning("there is space again for writing to %s", self._path)
        return connection

    def _close_readers(self) -> None:
        with self._readers_lock:
            self._closed = True
            readers, self._readers = self._readers, []
            if self._only_reader is not None:
                readers.append(self._only_reader)
        for reader in readers:
            with reader.in_use:
                reader.close()

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
        with self._read_transaction() as connection:
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
        with self._reading() as connection:
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
        with self._read_transaction() as connection:
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

    @contextlib.contextmanager
    def _read_transaction(self) -> Iterator[sqlite3.Connection]:
        """All reads of this thread see the same state of the database."""
        with self._reading() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _select(self, where: str, *values: Any) -> list[Document]:
        return [_document(row) for row in self._rows(SELECT_DOCUMENTS + where, *values)]

    def _last_value(self, table: str) -> int:
        rows = self._rows("SELECT seq FROM sqlite_sequence WHERE name = ?", table)
        return int(rows[0][0]) if rows else 0

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._reading() as connection:
            return connection.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody closes meanwhile."""
        while True:
            reader = self._reader()
            with reader.in_use:
                if reader.is_closed and not self._closed:
                    continue  # there is space again, so this thread gets one of its own
                yield reader.connection
                return

    def _reader(self) -> _Reader:
        if (only := self._only_reader) is not None:
            self._attempt_writing()
            return only
        reader: _Reader | None = getattr(self._local, "reader", None)
        if reader is None or self._closed:
            with self._readers_lock:
                if self._closed:
                    raise sqlite3.ProgrammingError("the store is closed")
                reader = self._local.reader = _Reader(connect(self._path))
                self._readers.append(reader)
        return reader

    def _attempt_writing(self) -> None:
        """Now and then, have the writer look whether there is space again."""
        now = time.monotonic()
        if now >= self._next_attempt:
            self._next_attempt = now + ATTEMPT_EVERY_S
            with contextlib.suppress(sqlite3.ProgrammingError):  # it is closed
                self._writer.submit([])


def _json_list(values: Sequence[int] | Sequence[str]) -> str:
    return orjson.dumps(values).decode()


def _document(row: Any) -> Document:
    return Document(row[0], row[1], row[2], orjson.loads(row[3]), {})
