"""SQLite: the truth, and the log of its changes.

Knows nothing of searching. A record is a namespace, an id, its fields as JSON, and its vectors as
bytes. Every version of a record has a document number (`docno`) of its own, never used again, and
every change has a sequence number (`seq`). The log also keeps what was removed, until it is cut: so
whoever follows it, however far behind, sees the same changes as everybody else.

`writer.py` writes. Every thread reads over a connection of its own; WAL keeps readers and the
writer out of each other's way.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from pyroaring import BitMap

from service.embedded.storage.writer import Operation, Writer, WriteResult, connect

FORMAT = 3  # raise it when the tables change
SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    docno INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, id TEXT NOT NULL,
    fields BLOB NOT NULL, UNIQUE (namespace, id)
);
CREATE TABLE IF NOT EXISTS vectors (
    docno INTEGER NOT NULL, field TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (docno, field)
); -- not WITHOUT ROWID: a vector would take a page of its own
CREATE TABLE IF NOT EXISTS changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, docno INTEGER NOT NULL, added INTEGER NOT NULL,
    namespace TEXT, id TEXT, fields BLOB -- of what was removed
);
CREATE INDEX IF NOT EXISTS removals ON changes (docno) WHERE added = 0;
CREATE TABLE IF NOT EXISTS namespaces (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

DOCUMENTS = "SELECT docno, namespace, id, fields FROM documents WHERE "
LISTED = "(SELECT value FROM json_each(?))"
# What was added is in the documents or, if it has gone since, where the log says so.
CHANGES = """
SELECT c.seq, c.added, c.docno, coalesce(c.namespace, d.namespace, gone.namespace),
    coalesce(c.id, d.id, gone.id), coalesce(c.fields, d.fields, gone.fields)
FROM changes c
LEFT JOIN documents d ON c.added AND d.docno = c.docno
LEFT JOIN changes gone
    ON c.added AND d.docno IS NULL AND gone.docno = c.docno AND gone.added = 0
WHERE c.seq > ? ORDER BY c.seq LIMIT ?
"""


class UnsupportedFormat(Exception):
    """The file was made by another version of this program."""


class Document(NamedTuple):
    """One version of a record."""

    docno: int
    namespace: str
    id: str
    fields: dict[str, Any]
    vectors: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """What has changed up to `seq`, less what came and went in between."""

    seq: int
    added: list[Document]
    removed: list[Document]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every record as it was after `seq`, in batches."""

    seq: int
    total: int
    batches: Iterator[list[Document]]


class Reader(NamedTuple):
    """One thread's connection, which another one may want to close."""

    connection: sqlite3.Connection
    in_use: threading.RLock


class Store:
    """One index's records, in one file. `committed` is called by the writer after each COMMIT."""

    def __init__(self, path: Path, committed: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._own = threading.local()
        self._readers: list[Reader] = []
        self._opening = threading.Lock()
        self._closed = False
        try:
            self._prepare()
            self._writer = Writer(path, committed)
        except BaseException:
            self.close_readers()
            raise

    def _prepare(self) -> None:
        reader = self._reader().connection
        (found,) = reader.execute("PRAGMA user_version").fetchone()
        (tables,) = reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and found != FORMAT:
            raise UnsupportedFormat(f"it was made by another version of Cascade (format {found})")
        if not tables:  # in one go: a kill leaves all of them or none
            reader.executescript(f"BEGIN; {SCHEMA}; PRAGMA user_version = {FORMAT}; COMMIT")

    async def write(self, operations: Sequence[Operation]) -> WriteResult:
        """Write all or nothing; returns after COMMIT. It goes on if the caller is cancelled."""
        return await self._writer.write(operations)

    def submit(self, operations: Sequence[Operation]) -> None:
        """Have it written, and don't wait."""
        self._writer.submit(operations)

    def write_now(self, operations: Sequence[Operation]) -> None:
        """The same as `write`, for threads."""
        self._writer.submit(operations).result()

    def close(self) -> None:
        """Finish what is being written, and close the file."""
        self._writer.close()
        self.close_readers()

    def close_readers(self) -> None:
        with self._opening:
            self._closed = True
            readers, self._readers = self._readers, []
        for reader in readers:
            with reader.in_use:  # or else the library crashes
                reader.connection.close()

    # --- what is there -------------------------------------------------------------------------

    def documents(self, docnos: Sequence[int]) -> dict[int, Document]:
        """Those of these versions that are still current."""
        return {each.docno: each for each in self._select("docno IN " + LISTED, _listed(docnos))}

    def by_id(self, namespace: str, ids: Sequence[str]) -> list[Document]:
        """The records with these ids, as far as there are any."""
        return self._select("namespace = ? AND id IN " + LISTED, namespace, _listed(ids))

    def with_vectors(self, documents: Sequence[Document], field: str | None = None) -> None:
        """Put the vectors of one field, or of all, into documents."""
        of_field = "" if field is None else " AND field = ?"
        rows = self._rows(
            f"SELECT docno, field, vector FROM vectors WHERE docno IN {LISTED}{of_field}",  # noqa: S608 - constants
            _listed([each.docno for each in documents]),
            *([] if field is None else [field]),
        )
        by_docno = {each.docno: each.vectors for each in documents}
        for docno, name, vector in rows:
            by_docno[docno][name] = vector

    def ids(self, namespace: str, prefix: str, after: str, limit: int) -> list[str]:
        """A page of ids in their order, from the first one behind `after`."""
        beyond = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else chr(sys.maxunicode)
        rows = self._rows(
            "SELECT id FROM documents WHERE namespace = ? AND id > ? AND id >= ? AND id < ?"
            " ORDER BY id LIMIT ?",
            *(namespace, after, prefix, beyond, limit),
        )
        return [row[0] for row in rows]

    def newest(self) -> int:
        """The number of the last version that was written."""
        rows = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'documents'")
        return int(rows[0][0]) if rows else 0

    def page(
        self, namespace: str, after: str, limit: int, among: BitMap, newest: int
    ) -> list[Document]:
        """In the order of their ids, the next of those in `among`, or written after `newest`."""
        with self._at_one_moment() as reader:
            rows = reader.execute(
                "SELECT docno FROM documents WHERE namespace = ? AND id > ? ORDER BY id",
                (namespace, after),
            )
            wanted = (docno for (docno,) in rows if docno in among or docno > newest)
            docnos = list(islice(wanted, limit))
            rows.close()
            found = self.documents(docnos)
        return [found[docno] for docno in docnos]

    def namespaces(self) -> dict[str, int]:
        """Every namespace that was created or has records, with how many it has."""
        counts = {name: 0 for (name,) in self._rows("SELECT name FROM namespaces")}
        counts.update(self._rows("SELECT namespace, count(*) FROM documents GROUP BY namespace"))
        return counts

    def fact(self, name: str) -> str | None:
        """What is noted under a name."""
        rows = self._rows("SELECT value FROM facts WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file: nothing, if all is well."""
        try:
            found = [str(row[0]) for row in self._rows("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as exc:  # too damaged to be looked at
            return [str(exc)]
        return [] if found == ["ok"] else found

    # --- the log ---------------------------------------------------------------------------------

    def seq(self) -> int:
        """The last change."""
        rows = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")
        return int(rows[0][0]) if rows else 0

    def log_starts_after(self) -> int:
        """The log can be followed by whoever has come as far as this."""
        return int(self.fact("log_starts_after") or 0)

    def changes(self, after: int, limit: int, vector_field: str | None = None) -> ChangeBatch:
        """The next changes; of what was added, with one field's vectors if they are asked for.

        They are read a moment later: what has been removed by then has none.
        """
        rows = self._rows(CHANGES, after, limit)
        here = {row[2] for row in rows if row[1]}
        gone = {row[2] for row in rows if not row[1]}
        found = [(bool(row[1]), _document(row[2:])) for row in rows if row[2] not in here & gone]
        added = [document for was_added, document in found if was_added]
        if vector_field is not None:
            self.with_vectors(added, vector_field)
        removed = [document for was_added, document in found if not was_added]
        return ChangeBatch(rows[-1][0] if rows else after, added, removed)

    @contextlib.contextmanager
    def snapshot(self, vector_field: str | None = None, batch: int = 500) -> Iterator[Snapshot]:
        """All that there is at one moment, whatever is written meanwhile."""
        with self._at_one_moment() as reader:
            seq = self.seq()
            (total,) = reader.execute("SELECT count(*) FROM documents").fetchone()
            yield Snapshot(seq, total, self._batches(vector_field, batch))

    @contextlib.contextmanager
    def _at_one_moment(self) -> Iterator[sqlite3.Connection]:
        """What this thread reads does not change meanwhile."""
        reader = self._reader()
        with reader.in_use:
            reader.connection.execute("BEGIN")
            try:
                yield reader.connection
            finally:
                if reader.connection.in_transaction:
                    reader.connection.execute("ROLLBACK")

    def _batches(self, vector_field: str | None, batch: int) -> Iterator[list[Document]]:
        last = 0
        while found := self._select("docno > ? ORDER BY docno LIMIT ?", last, batch):
            if vector_field is not None:
                self.with_vectors(found, vector_field)
            last = found[-1].docno
            yield found

    def _select(self, where: str, *values: Any) -> list[Document]:
        return [_document(row) for row in self._rows(DOCUMENTS + where, *values)]

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        reader = self._reader()
        with reader.in_use:
            return reader.connection.execute(sql, values).fetchall()

    def _reader(self) -> Reader:
        reader: Reader | None = getattr(self._own, "reader", None)
        if reader is None or self._closed:
            with self._opening:
                if self._closed:
                    raise sqlite3.ProgrammingError("the store is closed")
                reader = self._own.reader = Reader(connect(self._path), threading.RLock())
                self._readers.append(reader)
        return reader


def _listed(values: Sequence[int] | Sequence[str]) -> str:
    return orjson.dumps(values).decode()


def _document(row: Any) -> Document:
    return Document(row[0], row[1], row[2], orjson.loads(row[3]), {})
