"""The single thread that writes to a store, with group commit.

Writes that arrive together share one transaction and are acknowledged after its COMMIT, so an
acknowledged write survives a kill. The connection is opened for the first write, and again for the
next one if that fails: a disk that was full at the start may have space by then.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from service.disk_space import is_disk_full
from service.embedded.storage.database import empty_log
from service.embedded.storage.operations import (
    ClearNamespace,
    Operation,
    WriteResult,
    apply_operations,
)

MAX_GROUP = 64  # writes that share one transaction
LARGE_WRITE = 1_000  # operations

_QueuedWrite = tuple[Sequence[Operation], "Future[WriteResult]"]


class Writer:
    """Writes over a connection and a thread of its own; calls `on_commit` after each COMMIT."""

    def __init__(
        self, name: str, connect: Callable[[], sqlite3.Connection], on_commit: Callable[[], None]
    ) -> None:
        self._connect = connect
        self._on_commit = on_commit
        self._closing = threading.Lock()
        self._closed = False
        self._queue: queue.SimpleQueue[_QueuedWrite | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._run, name=f"write {name}")
        self._thread.start()

    def submit(self, operations: Sequence[Operation]) -> Future[WriteResult]:
        """Enqueue a write, from any thread."""
        result: Future[WriteResult] = Future()
        result.set_running_or_notify_cancel()  # from here on it can't be cancelled
        with self._closing:
            if self._closed:
                raise sqlite3.ProgrammingError("the store is closed for writing")
            self._queue.put((operations, result))
        return result

    def close(self) -> None:
        """Reject new writes, and finish those in the queue."""
        with self._closing:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            closing = False
            while not closing:
                taken = [self._queue.get()]
                while len(taken) < MAX_GROUP and not self._queue.empty():
                    taken.append(self._queue.get())
                closing = None in taken
                if writes := [write for write in taken if write is not None]:
                    self._write(writes)
        finally:
            if self._connection is not None:
                self._connection.close()

    def _write(self, writes: Sequence[_QueuedWrite]) -> None:
        if self._connection is None:
            try:
                self._connection = self._connect()
            except Exception as exc:
                for _, result in writes:
                    result.set_exception(exc)
                return
        if any(map(_is_large, writes)):
            empty_log(self._connection)  # what is left in it could not be moved from a full disk
        _commit(self._connection, writes)
        self._on_commit()


def _is_large(write: _QueuedWrite) -> bool:
    operations, _ = write
    clears = any(isinstance(each, ClearNamespace) for each in operations)
    return clears or len(operations) > LARGE_WRITE


def _commit(connection: sqlite3.Connection, writes: Sequence[_QueuedWrite]) -> None:
    """Commit all writes in one transaction; if that fails, each in a transaction of its own."""
    try:
        results = _transact(connection, [operations for operations, _ in writes])
    except Exception as exc:
        if len(writes) == 1:
            if is_disk_full(exc):
                empty_log(connection)
            writes[0][1].set_exception(exc)
        else:
            for write in writes:
                _commit(connection, [write])
        return
    for (_, future), result in zip(writes, results, strict=True):
        future.set_result(result)


def _transact(
    connection: sqlite3.Connection, batches: Sequence[Sequence[Operation]]
) -> list[WriteResult]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = [apply_operations(connection, operations) for operations in batches]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results
