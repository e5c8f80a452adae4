"""The data directory: one owner at a time, and the indexes in it.

An OS lock says who the owner is. It ends with the process, however that ends, so there is never a
stale one to clean up.
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

from service.embedded.index import EmbeddedIndex
from service.errors import StartupFailed
from service.inference.embedders import Embedder


@contextlib.asynccontextmanager
async def opened_index(
    data_dir: Path, name: str, text_field: str, embedder: Embedder
) -> AsyncIterator[EmbeddedIndex]:
    """Own the data directory and open one index in it; close both on the way out."""
    with _owned(data_dir):
        index = EmbeddedIndex(data_dir / name, text_field, embedder)
        try:
            await asyncio.to_thread(index.open)
        except (OSError, sqlite3.Error) as exc:
            raise StartupFailed(
                f"DATA_DIR: the records in {index.folder} can't be opened ({exc}); "
                "put back a copy of it, or give another DATA_DIR"
            ) from exc
        try:
            yield index
        finally:
            await index.close()


@contextlib.contextmanager
def _owned(data_dir: Path) -> Iterator[None]:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "owner").open("a+")
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
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _read(lock: TextIOWrapper) -> str:
    lock.seek(0)
    return lock.read().strip() or "?"
