"""The connections of a store: one for each thread that reads, and that of the writer.

In WAL mode, readers and the writer do not block each other. That takes a little space on the disk.
Without any, all threads read over one connection, one at a time, until there is space again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from service.disk_space import is_disk_full
from service.embedded.storage.database import connect, connect_exclusive, create_tables

logger = logging.getLogger(__name__)

EXCLUSIVE_WAIT_S = 0.5  # for the read that uses the only connection
ATTEMPT_EVERY_S = 1.0


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


class Connections:
    """The connections to one file. Its tables are created if it is new.

    If the disk is full when it is opened, it can only be read, and `are_read_only` is true until
    there is space again: a read calls `attempt_writing`, now and then, to have the writer connect.
    """

    def __init__(self, path: Path, attempt_writing: Callable[[], None]) -> None:
        self._path = path
        self._attempt_writing = attempt_writing
        self._local = threading.local()
        self._readers: list[_Reader] = []
        self._readers_lock = threading.Lock()
        self._closed = False
        self._only_reader: _Reader | None = None
        self._next_attempt = time.monotonic() + ATTEMPT_EVERY_S
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        try:
            with self.reading() as connection:
                create_tables(connection)
        except sqlite3.Error as exc:
            if not is_disk_full(exc) or not self._path.exists() or not self._path.stat().st_size:
                raise
            with self._readers_lock:
                self._only_reader = _Reader(connect_exclusive(self._path))
            logger.warning("there is no space left for writing to %s: it is read-only", self._path)
            create_tables(self._only_reader.connection)

    @property
    def are_read_only(self) -> bool:
        return self._only_reader is not None

    def close(self) -> None:
        """Close the connections of the readers. The writer closes its own."""
        with self._readers_lock:
            self._closed = True
            readers, self._readers = self._readers, []
            if self._only_reader is not None:
                readers.append(self._only_reader)
        for reader in readers:
            with reader.in_use:
                reader.close()

    def connect_writer(self) -> sqlite3.Connection:
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

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody closes meanwhile."""
        while True:
            reader = self._reader()
            with reader.in_use:
                if reader.is_closed and not self._closed:
                    continue  # there is space again, so this thread gets one of its own
                yield reader.connection
                return

    @contextlib.contextmanager
    def read_transaction(self) -> Iterator[sqlite3.Connection]:
        """All reads of this thread see the same state of the database."""
        with self.reading() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _reader(self) -> _Reader:
        if (only := self._only_reader) is not None:
            now = time.monotonic()
            if now >= self._next_attempt:
                self._next_attempt = now + ATTEMPT_EVERY_S
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
