"""The SQLite file of a store: its tables, its format version, and how it is opened."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

FORMAT = 3  # raise it when the tables change
CACHE_KIB = 512  # per connection
BUSY_MS = 10_000
MAX_LOG_BYTES = 16 << 20  # the write-ahead log is cut to this after a large transaction
TABLES = """
CREATE TABLE IF NOT EXISTS documents (
    docno INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, id TEXT NOT NULL,
    fields BLOB NOT NULL, UNIQUE (namespace, id)
);
CREATE TABLE IF NOT EXISTS vectors (
    docno INTEGER NOT NULL, field TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (docno, field)
); -- not WITHOUT ROWID: a vector would take a page of its own
CREATE TABLE IF NOT EXISTS changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, docno INTEGER NOT NULL, added INTEGER NOT NULL,
    namespace TEXT, id TEXT, fields BLOB -- of a removed document
);
CREATE INDEX IF NOT EXISTS removals ON changes (docno) WHERE added = 0;
CREATE TABLE IF NOT EXISTS namespaces (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class UnsupportedFormat(Exception):
    """The file was written by another version of this program."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection that any thread may use, one thread at a time.

    `synchronous=FULL` makes every acknowledged write survive a power cut.
    """
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {MAX_LOG_BYTES}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_exclusive(path: Path) -> sqlite3.Connection:
    """Open the only connection to a file, for reading, without any space on the disk.

    Other connections share an index of the write-ahead log in a file, which takes 32 KiB. In
    exclusive mode it is in memory.
    """
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA query_only = 1")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # locks the file
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def empty_log(connection: sqlite3.Connection) -> None:
    """Give the space of the write-ahead log back, unless a reader needs the log.

    A transaction that fails on a full disk leaves all that it has written in the log.
    """
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a connection that never writes to the file, also beside a process that does."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables of a new file, and check the format of an existing one."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and found != FORMAT:
        raise UnsupportedFormat(f"it was written by another version of Cascade (format {found})")
    if not tables:  # in one transaction: a kill leaves all tables or none
        connection.executescript(f"BEGIN; {TABLES}; PRAGMA user_version = {FORMAT}; COMMIT")
