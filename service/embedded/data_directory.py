"""The data directory: its lock, and the indexes in it.

One process owns the directory, by an OS lock. The lock ends with the process, however that ends, so
it is never stale.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from io import TextIOWrapper
from pathlib import Path

from service.concurrency import finish
from service.disk_space import is_disk_full
from service.embedded.index import EmbeddedIndex
from service.embedded.index_metadata import IncompatibleIndex, MissingRecords
from service.embedded.lexical.files import CorruptIndex, IndexInUse
from service.embedded.schema import Schema
from service.embedded.storage.database import UnsupportedFormat
from service.errors import StartupFailed
from service.inference.embedder import Embedder
from service.private_files import is_open_to_others, make_private_file, make_private_folder

logger = logging.getLogger(__name__)

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
        except MissingRecords as exc:
            raise StartupFailed(
                f"DATA_DIR: {exc}. Put the file back, or restore a backup. To start without these "
                f"records, move {index.folder} away"
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
        make_private_folder(data_dir)
        make_private_file(data_dir / OWNER)
        lock = (data_dir / OWNER).open("r+")
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
        if is_open_to_others(data_dir):
            logger.warning(
                "DATA_DIR: other users of this machine may read %s; to keep them out, run "
                "`chmod 700 %s`",
                *(data_dir, data_dir),
            )
        yield


def _read(lock: TextIOWrapper) -> str:
    lock.seek(0)
    return lock.read().strip() or "?"
