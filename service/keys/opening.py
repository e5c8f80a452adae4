"""Opens the key store: SQLite in a file that only its owner can read, or PostgreSQL."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from service.database.database import Database
from service.errors import KeysUnavailable
from service.keys.store import KeyStore
from service.keys.table import API_KEYS

FOLDER_MODE, FILE_MODE = 0o700, 0o600


async def open_store(url: str | None, path: Path) -> tuple[KeyStore, Database]:
    """Create the tables if there are none. The caller closes the database."""
    if url is None:
        await asyncio.to_thread(_create_file, path)
    database = Database(url, path, API_KEYS)
    try:
        await database.migrate()
    except BaseException:
        await database.close()
        raise
    return KeyStore(database), database


def _create_file(path: Path) -> None:
    """SQLite gives its journal the mode of the file."""
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, FILE_MODE))
    except OSError as exc:
        raise KeysUnavailable(
            f"The file of the API keys can't be opened: {exc.strerror}", retry_after=5
        ) from exc
