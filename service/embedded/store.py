"""SQLite: the truth, and the log of its changes.

Knows nothing of searching. A record is a namespace, an id, its fields as JSON, and its vectors as
bytes. Every version of a record has a document number (`docno`) of its own, never used again, and
every change has a sequence number (`seq`): that is all a view needs to follow.

One thread writes. Writes that arrive together share a transaction, and are acknowledged after
COMMIT with `synchronous=FULL`: what is acknowledged survives a kill and a power cut. Reads go over
a connection of their own, behind a lock; WAL keeps them from waiting for the writer.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

logger = logging.getLogger(__name__)

MAX_TOGETHER = 64  # writes that share one transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    docno INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, id TEXT NOT NULL,
    fields BLOB NOT NULL, UNIQUE (namespace, id)
);
CREATE TABLE IF NOT EXISTS vectors (
    docno INTEGER NOT NULL, field TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (docno, field)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, docno INTEGER NOT NULL, added INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

# A document, with the vector of one field where there is one.
DOCUMENTS = """
SELECT docno, namespace, id, fields,
    (SELECT vector FROM vectors v WHERE v.docno = d.docno AND v.field = ?)
FROM documents d WHERE """
LISTED = "(SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Put:
    """Write a record, in place of the one with its id."""

    namespace: str
    id: str
    fields: Mapping[str, Any]
    vectors: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a record, if it is there."""

    namespace: str
    id: str


@dataclass(frozen=True, slots=True)
class Document:
    """One version of a record."""

    docno: int
    namespace: str
    id: str
    fields: dict[str, Any]
    vectors: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a write has changed: all that a view has to be told."""

    seq: int
    added: list[Document]
    removed: list[Document]


Operation = Put | Remove
_Job = tuple[Sequence[Operation], Future[Applied]]


class Store:
    """One index's records, in one file."""

    def __init__(self, path: Path, follow: Callable[[Applied], None] | None = None) -> None:
        """`follow` is told of every change in its order, by the writer, before it acknowledges."""
        self._path = path
        self._follow = follow
        self._finished = False
        self._reading = threading.Lock()
        self._reader = _connect(path)
        try:
            self._reader.executescript(SCHEMA)
        except sqlite3.Error:
            self._reader.close()
            raise
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name=f"write {path.name}")
        self._writer.start()

    async def write(self, operations: Sequence[Operation]) -> Applied:
        """Write all or nothing; returns after COMMIT. It goes on if the caller is cancelled."""
        if self._finished:
            raise sqlite3.ProgrammingError("the store takes no more writes")
        done: Future[Applied] = Future()
        self._jobs.put((operations, done))
        return await asyncio.shield(asyncio.wrap_future(done))

    def finish(self) -> None:
        """Take no more writes, and finish those that were asked for."""
        self._finished = True
        self._jobs.put(None)
        self._writer.join()

    def close(self) -> None:
        """Finish, and close the file."""
        self.finish()
        with self._reading:
            self._reader.close()

    def seq(self) -> int:
        """The last change."""
        row = self._one("SELECT coalesce(max(seq), 0) FROM changes")
        return int(row[0])

    def fact(self, name: str, value: str | None = None) -> str | None:
        """What is noted under a name; with a value, note it."""
        if value is not None:
            with self._reading, self._reader:
                self._reader.execute("REPLACE INTO facts VALUES (?, ?)", (name, value))
            return value
        row = self._one("SELECT value FROM facts WHERE name = ?", name)
        return row and str(row[0])

    def documents(self, docnos: Sequence[int]) -> dict[int, Document]:
        """Those of these versions that are still current."""
        return {each.docno: each for each in self._select("docno IN " + LISTED, _listed(docnos))}

    def by_id(self, namespace: str, ids: Sequence[str]) -> list[Document]:
        """The records with these ids, as far as there are any."""
        return self._select("namespace = ? AND id IN " + LISTED, namespace, _listed(ids))

    def ids(self, namespace: str, prefix: str, after: str, limit: int) -> list[str]:
        """A page of ids in their order, from the first one behind `after`."""
        rows = self._rows(
            "SELECT id FROM documents WHERE namespace = ? AND id > ? AND substr(id, 1, ?) = ?"
            " ORDER BY id LIMIT ?",
            *(namespace, after, len(prefix), prefix, limit),
        )
        return [row[0] for row in rows]

    def scan(self, vector_field: str = "", batch: int = 1000) -> Iterator[list[Document]]:
        """Every record in the order of docno, with one field's vector if it is asked for."""
        last = 0
        while True:
            found = self._select("docno > ?", last, vector_field=vector_field, limit=batch)
            if not found:
                return
            last = found[-1].docno
            yield found

    def changes(self, after: int, vector_field: str = "") -> Applied:
        """All that has changed since `after`, in one piece, less what came and went again.

        Of what was removed only the docno is still known.
        """
        rows = self._rows(
            "SELECT docno, min(added), max(seq) FROM changes WHERE seq > ? GROUP BY docno", after
        )
        gone = [Document(docno, "", "", {}) for docno, added, _ in rows if not added]
        came = _listed([docno for docno, added, _ in rows if added])
        current = self._select("docno IN " + LISTED, came, vector_field=vector_field)
        return Applied(max((seq for _, _, seq in rows), default=after), current, gone)

    def _select(
        self, where: str, *values: Any, vector_field: str = "", limit: int = -1
    ) -> list[Document]:
        """The documents for which a condition holds, in the order of docno; -1 sets no limit."""
        sql = DOCUMENTS + where + " ORDER BY docno LIMIT ?"
        return [
            _document(row, vector_field) for row in self._rows(sql, vector_field, *values, limit)
        ]

    def _tell(self, applied: Applied) -> None:
        """The write is committed, whatever becomes of those who follow: they can catch up."""
        if self._follow is not None:
            try:
                self._follow(applied)
            except Exception:
                logger.exception(
                    "a view could not follow a change; it is rebuilt at the next start"
                )

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._reading:
            return self._reader.execute(sql, values).fetchall()

    def _one(self, sql: str, *values: Any) -> Any:
        with self._reading:
            return self._reader.execute(sql, values).fetchone()

    def _write_all(self) -> None:
        """The writer thread: take what has come in, write it in one transaction, acknowledge."""
        connection = _connect(self._path)
        try:
            ended = False
            while not ended:
                taken = [self._jobs.get()]
                while len(taken) < MAX_TOGETHER and not self._jobs.empty():
                    taken.append(self._jobs.get())
                ended = None in taken
                if jobs := [job for job in taken if job is not None]:
                    _commit(connection, jobs, self._tell)
        finally:
            connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA busy_timeout = 10000")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _commit(
    connection: sqlite3.Connection, jobs: Sequence[_Job], tell: Callable[[Applied], None]
) -> None:
    """All jobs in one transaction; if that fails, each in its own, so that each knows its fate."""
    try:
        results = _transact(connection, [operations for operations, _ in jobs])
    except Exception as exc:
        if len(jobs) == 1:
            jobs[0][1].set_exception(exc)
        else:
            for job in jobs:
                _commit(connection, [job], tell)
        return
    for (_, done), applied in zip(jobs, results, strict=True):
        tell(applied)
        done.set_result(applied)


def _transact(
    connection: sqlite3.Connection, batches: Sequence[Sequence[Operation]]
) -> list[Applied]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = [_apply(connection, operations) for operations in batches]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results


def _apply(connection: sqlite3.Connection, operations: Sequence[Operation]) -> Applied:
    added: dict[int, Document] = {}
    removed: list[Document] = []
    for operation in operations:
        gone = _remove(connection, operation.namespace, operation.id)
        if gone is not None and added.pop(gone.docno, None) is None:
            removed.append(gone)
        if isinstance(operation, Put):
            document = _insert(connection, operation)
            added[document.docno] = document
    (seq,) = connection.execute("SELECT coalesce(max(seq), 0) FROM changes").fetchone()
    return Applied(seq, list(added.values()), removed)


def _remove(connection: sqlite3.Connection, namespace: str, id: str) -> Document | None:
    row = connection.execute(
        "DELETE FROM documents WHERE namespace = ? AND id = ?"
        " RETURNING docno, namespace, id, fields",
        (namespace, id),
    ).fetchone()
    if row is None:
        return None
    connection.execute("DELETE FROM vectors WHERE docno = ?", (row[0],))
    connection.execute("INSERT INTO changes (docno, added) VALUES (?, 0)", (row[0],))
    return _document(row)


def _insert(connection: sqlite3.Connection, put: Put) -> Document:
    fields = orjson.dumps(put.fields)
    docno = connection.execute(
        "INSERT INTO documents (namespace, id, fields) VALUES (?, ?, ?)",
        (put.namespace, put.id, fields),
    ).lastrowid
    assert docno is not None, "a row that was inserted has a number"  # noqa: S101
    connection.executemany(
        "INSERT INTO vectors VALUES (?, ?, ?)",
        [(docno, name, vector) for name, vector in put.vectors.items()],
    )
    connection.execute("INSERT INTO changes (docno, added) VALUES (?, 1)", (docno,))
    return Document(docno, put.namespace, put.id, orjson.loads(fields), put.vectors)


def _listed(values: Sequence[int] | Sequence[str]) -> str:
    return orjson.dumps(values).decode()


def _document(row: Any, vector_field: str = "") -> Document:
    vectors = {vector_field: row[4]} if vector_field and row[4] is not None else {}
    return Document(row[0], row[1], row[2], orjson.loads(row[3]), vectors)
