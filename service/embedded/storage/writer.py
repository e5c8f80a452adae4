"""The one thread that writes to the store.

Writes that arrive together share a transaction, and are acknowledged after COMMIT with
`synchronous=FULL`: what is acknowledged survives a kill and a power cut.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

MAX_GROUP = 64  # writes that share one transaction
CACHE_KIB = 512  # of a connection
# Two views may ask for a cut at once: it never goes back.
LOG_STARTS_AFTER = """
REPLACE INTO facts SELECT 'log_starts_after', CAST(max(?, coalesce(
    (SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'log_starts_after'), 0)) AS TEXT)
"""


@dataclass(frozen=True, slots=True)
class Put:
    """Write a record, in place of the one with its id; if `instead_of`, of that version only."""

    namespace: str
    id: str
    fields: Mapping[str, Any]
    vectors: Mapping[str, bytes] = field(default_factory=dict)
    instead_of: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a record, if it is there."""

    namespace: str
    id: str


@dataclass(frozen=True, slots=True)
class DeleteVersion:
    """Delete one version of a record, if it is still current."""

    docno: int


@dataclass(frozen=True, slots=True)
class ClearNamespace:
    """Delete every record of a namespace, and the namespace unless it was created as such."""

    namespace: str


@dataclass(frozen=True, slots=True)
class Name:
    """Create a namespace, or, if not `exists`, forget it."""

    namespace: str
    exists: bool = True


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """Store a fact under a name; None forgets it."""

    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class ReplaceVector:
    """Another vector for a version of a record; no view is told."""

    docno: int
    field: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class TrimLog:
    """Forget the log up to a change that every view has saved."""

    seq: int


Operation = (
    Put | Delete | DeleteVersion | ClearNamespace | Name | SetMetadata | TrimLog | ReplaceVector
)


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write has changed, and the last change."""

    seq: int
    added: int
    removed: int


class VersionConflict(Exception):
    """The version that was to be replaced is not the current one any more."""


_Job = tuple[Sequence[Operation], "Future[WriteResult]"]


class Writer:
    """A connection that writes, and its thread."""

    def __init__(self, path: Path, committed: Callable[[], None]) -> None:
        self._committed = committed
        self._closing = threading.Lock()
        self._closed = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection = connect(path)
        self._thread = threading.Thread(target=self._run, name=f"write {path.name}")
        self._thread.start()

    async def write(self, operations: Sequence[Operation]) -> WriteResult:
        """Write all or nothing; returns after COMMIT. It goes on if the caller is cancelled."""
        return await asyncio.shield(asyncio.wrap_future(self.submit(operations)))

    def submit(self, operations: Sequence[Operation]) -> Future[WriteResult]:
        """The same, for threads."""
        done: Future[WriteResult] = Future()
        done.set_running_or_notify_cancel()  # it can't be cancelled any more
        with self._closing:
            if self._closed:
                raise sqlite3.ProgrammingError("the store takes no more writes")
            self._jobs.put((operations, done))
        return done

    def close(self) -> None:
        """Take no more writes, and finish those that were asked for."""
        with self._closing:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            ended = False
            while not ended:
                taken = [self._jobs.get()]
                while len(taken) < MAX_GROUP and not self._jobs.empty():
                    taken.append(self._jobs.get())
                ended = None in taken
                if jobs := [job for job in taken if job is not None]:
                    _commit(self._connection, jobs)
                    self._committed()
        finally:
            self._connection.close()


def connect(path: Path) -> sqlite3.Connection:
    """A connection that any thread may use, if only one at a time does."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA busy_timeout = 10000")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _commit(connection: sqlite3.Connection, jobs: Sequence[_Job]) -> None:
    """All jobs in one transaction; if that fails, each in its own, so that each knows its fate."""
    try:
        results = _transact(connection, [operations for operations, _ in jobs])
    except Exception as exc:
        if len(jobs) == 1:
            jobs[0][1].set_exception(exc)
        else:
            for job in jobs:
                _commit(connection, [job])
        return
    for (_, done), written in zip(jobs, results, strict=True):
        done.set_result(written)


def _transact(
    connection: sqlite3.Connection, batches: Sequence[Sequence[Operation]]
) -> list[WriteResult]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = [_apply(connection, operations) for operations in batches]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results


def _apply(connection: sqlite3.Connection, operations: Sequence[Operation]) -> WriteResult:
    added = removed = 0
    for operation in operations:
        if isinstance(operation, Put):
            removed += _make_room(connection, operation)
            _insert(connection, operation)
            added += 1
        elif isinstance(operation, Delete):
            where = "namespace = ? AND id = ?"
            removed += _remove(connection, where, operation.namespace, operation.id)
        elif isinstance(operation, DeleteVersion):
            removed += _remove(connection, "docno = ?", operation.docno)
        elif isinstance(operation, ClearNamespace):
            removed += _remove(connection, "namespace = ?", operation.namespace)
        else:
            _note(connection, operation)
    (seq,) = connection.execute(
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'changes'"
    ).fetchone()
    return WriteResult(seq, added, removed)


def _make_room(connection: sqlite3.Connection, put: Put) -> int:
    if put.instead_of is None:
        return _remove(connection, "namespace = ? AND id = ?", put.namespace, put.id)
    removed = _remove(connection, "docno = ?", put.instead_of)
    if not removed:
        raise VersionConflict(put.id)
    return removed


def _remove(connection: sqlite3.Connection, where: str, *values: Any) -> int:
    """Delete the documents for which a condition of ours holds, and write that into the log."""
    logged = connection.execute(
        "INSERT INTO changes (docno, added, namespace, id, fields)"  # noqa: S608 - a constant
        f" SELECT docno, 0, namespace, id, fields FROM documents WHERE {where}",
        values,
    ).rowcount
    if logged:
        connection.execute(
            f"DELETE FROM vectors WHERE docno IN (SELECT docno FROM documents WHERE {where})",  # noqa: S608
            values,
        )
        connection.execute(f"DELETE FROM documents WHERE {where}", values)  # noqa: S608
    return logged


def _insert(connection: sqlite3.Connection, put: Put) -> None:
    docno = connection.execute(
        "INSERT INTO documents (namespace, id, fields) VALUES (?, ?, ?)",
        (put.namespace, put.id, orjson.dumps(put.fields)),
    ).lastrowid
    connection.executemany(
        "INSERT INTO vectors VALUES (?, ?, ?)",
        [(docno, name, vector) for name, vector in put.vectors.items()],
    )
    connection.execute("INSERT INTO changes (docno, added) VALUES (?, 1)", (docno,))


def _note(
    connection: sqlite3.Connection, operation: Name | SetMetadata | TrimLog | ReplaceVector
) -> None:
    """What is no change of a document."""
    if isinstance(operation, SetMetadata) and operation.value is None:
        connection.execute("DELETE FROM facts WHERE name = ?", (operation.name,))
    elif isinstance(operation, SetMetadata):
        connection.execute("REPLACE INTO facts VALUES (?, ?)", (operation.name, operation.value))
    elif isinstance(operation, ReplaceVector):
        connection.execute(
            "REPLACE INTO vectors VALUES (?, ?, ?)",
            (operation.docno, operation.field, operation.vector),
        )
    elif isinstance(operation, TrimLog):
        connection.execute("DELETE FROM changes WHERE seq <= ?", (operation.seq,))
        connection.execute(LOG_STARTS_AFTER, (operation.seq,))
    elif operation.exists:
        connection.execute("INSERT OR IGNORE INTO namespaces VALUES (?)", (operation.namespace,))
    else:
        connection.execute("DELETE FROM namespaces WHERE name = ?", (operation.namespace,))
