"""The data directory: its lock, and the indexes in it.

One process owns the directory, by an OS lock. The lock ends with the process, however that ends, so
it is never stale.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from io import TextIOWrapper
from pathlib import Path

from service.concurrency import finish
from service.disk_space import is_disk_full
from service.embedded.index import EmbeddedIndex
from service.embedded.index_metadata import IncompatibleIndex
from service.embedded.lexical.files import CorruptIndex, IndexInUse
from service.embedded.schema import Schema
from service.embedded.storage.database import UnsupportedFormat
from service.errors import StartupFailed
from service.inference.embedder import Embedder

OWNER = "owner"  # the file that is locked


@contextlib.asynccontextmanager
async def opened_index(
    data_dir: Path, name: str, schema: Schema, embedder: Embedder
) -> AsyncIterator[EmbeddedIndex]:
    """Own the data directory and open one index in it, until the end of the block."""
    with owned(data_dir):
        index = EmbeddedIndex(data_dir / name, schema, embedder)
        try:
            await finish(
                asyncio.to_thread(index.open), undo=lambda _: asyncio.to_thread(index.close)
            )
        except IncompatibleIndex as exc:
            raise StartupFailed(
                f"DATA_DIR: {index.folder}: {exc}. Open it as it was made, give another DATA_DIR, "
                "or let `python -m service doctor --reembed` make it anew with this embedder"
            ) from exc
        except (OSError, sqlite3.Error, UnsupportedFormat, CorruptIndex, IndexInUse) as exc:
            if is_disk_full(exc):
                raise StartupFailed(
                    f"DATA_DIR: the disk of {index.folder} is full, so the records can't be opened "
                    f"({exc}); free some space, and start again"
                ) from exc
            raise StartupFailed(
                f"DATA_DIR: the records in {index.folder} can't be opened ({exc}); "
                "restore a backup, or set another DATA_DIR"
            ) from exc
        try:
            yield index
        finally:
            await finish(asyncio.to_thread(index.close))  # no file may outlive the owner


@contextlib.contextmanager
def owned(data_dir: Path) -> Iterator[None]:
    """Own the data directory until the end of the block."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / OWNER).open("a+")
    except OSError as exc:
        raise StartupFailed(f"DATA_DIR: {data_dir} can't be used: {exc.strerror}") from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartupFailed(
                f"DATA_DIR: {data_dir} belongs to process {_read(lock)}, which is running; "
                "stop it, or give this one a DATA_DIR of its own"
            ) from None
        with contextlib.suppress(OSError):  # the lock holds on a full disk, too
            os.ftruncate(lock.fileno(), 0)
            os.pwrite(lock.fileno(), str(os.getpid()).encode(), 0)
        yield


def _read(lock: TextIOWrapper) -> str:
    lock.seek(0)
    return lock.read().strip() or "?"
