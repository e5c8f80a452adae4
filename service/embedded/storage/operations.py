"""The operations of a write, and how each one changes the tables and the change log."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

# Several views may request a trim at once; the position never moves back.
ADVANCE_LOG_START = """
REPLACE INTO facts SELECT 'log_starts_after', CAST(max(?, coalesce(
    (SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'log_starts_after'), 0)) AS TEXT)
"""


@dataclass(frozen=True, slots=True)
class Put:
    """Write a record, replacing the one with the same id.

    `fields` may be JSON already. With `expected_docno`, fail with `VersionConflict` unless that
    version is the current one.
    """

    namespace: str
    id: str
    fields: Mapping[str, Any] | bytes
    vectors: Mapping[str, bytes] = field(default_factory=dict)
    expected_docno: int | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Fail with `VersionConflict` unless that version of a record is the current one."""

    docno: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a record, if it exists."""

    namespace: str
    id: str


@dataclass(frozen=True, slots=True)
class DeleteVersion:
    """Delete one version of a record, if it is still current."""

    docno: int


@dataclass(frozen=True, slots=True)
class ClearNamespace:
    """Delete every record of a namespace."""

    namespace: str


@dataclass(frozen=True, slots=True)
class CreateNamespace:
    """Create a namespace, which then exists even without records."""

    namespace: str


@dataclass(frozen=True, slots=True)
class DropNamespace:
    """Undo `CreateNamespace`. A namespace still exists as long as it has records."""

    namespace: str


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """Store a value under a name; None deletes it."""

    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class ReplaceVector:
    """Replace a vector of a document. This is not logged, so views do not see it."""

    docno: int
    field: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class TrimLog:
    """Delete the change log up to `seq`, which every view must have saved."""

    seq: int


RecordOperation = Put | Keep | Delete | DeleteVersion | ClearNamespace
Operation = (
    RecordOperation | CreateNamespace | DropNamespace | SetMetadata | ReplaceVector | TrimLog
)


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The sequence number after a write, and how many documents it added and removed."""

    seq: int
    added: int
    removed: int


class VersionConflict(Exception):
    """The expected version of a record is no longer the current one."""


def apply_operations(
    connection: sqlite3.Connection, operations: Sequence[Operation]
) -> WriteResult:
    """Apply operations inside the caller's transaction."""
    added = removed = 0
    for operation in operations:
        match operation:
            case Put():
                removed += _delete_replaced(connection, operation)
                _insert(connection, operation)
                added += 1
            case Keep(docno):
                _check_current(connection, docno)
            case Delete(namespace, id):
                removed += _delete(connection, "namespace = ? AND id = ?", namespace, id)
            case DeleteVersion(docno):
                removed += _delete(connection, "docno = ?", docno)
            case ClearNamespace(namespace):
                removed += _delete(connection, "namespace = ?", namespace)
            case _:
                _apply_unlogged(connection, operation)
    (seq,) = connection.execute(
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'changes'"
    ).fetchone()
    return WriteResult(seq, added, removed)


def _check_current(connection: sqlite3.Connection, docno: int) -> None:
    found = connection.execute("SELECT 1 FROM documents WHERE docno = ?", (docno,)).fetchone()
    if found is None:
        raise VersionConflict(docno)


def _delete_replaced(connection: sqlite3.Connection, put: Put) -> int:
    if put.expected_docno is None:
        return _delete(connection, "namespace = ? AND id = ?", put.namespace, put.id)
    removed = _delete(connection, "docno = ?", put.expected_docno)
    if not removed:
        raise VersionConflict(put.id)
    return removed


def _delete(connection: sqlite3.Connection, where: str, *values: Any) -> int:
    """Delete the documents that meet a constant condition, and log each as removed."""
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
    fields = put.fields if isinstance(put.fields, bytes) else orjson.dumps(put.fields)
    docno = connection.execute(
        "INSERT INTO documents (namespace, id, fields) VALUES (?, ?, ?)",
        (put.namespace, put.id, fields),
    ).lastrowid
    connection.executemany(
        "INSERT INTO vectors VALUES (?, ?, ?)",
        [(docno, name, vector) for name, vector in put.vectors.items()],
    )
    connection.execute("INSERT INTO changes (docno, added) VALUES (?, 1)", (docno,))


def _apply_unlogged(connection: sqlite3.Connection, operation: Operation) -> None:
    match operation:
        case CreateNamespace(name):
            connection.execute("INSERT OR IGNORE INTO namespaces VALUES (?)", (name,))
        case DropNamespace(name):
            connection.execute("DELETE FROM namespaces WHERE name = ?", (name,))
        case SetMetadata(name, None):
            connection.execute("DELETE FROM facts WHERE name = ?", (name,))
        case SetMetadata(name, value):
            connection.execute("REPLACE INTO facts VALUES (?, ?)", (name, value))
        case ReplaceVector(docno, name, vector):
            connection.execute("REPLACE INTO vectors VALUES (?, ?, ?)", (docno, name, vector))
        case TrimLog(seq):
            connection.execute("DELETE FROM changes WHERE seq <= ?", (seq,))
            connection.execute(ADVANCE_LOG_START, (seq,))
