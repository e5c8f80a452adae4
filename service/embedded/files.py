"""Saved states in a folder, one file each, named after the change up to which it is complete.

A new one is written beside the older one, which is removed only when the new one is whole on disk.
A checksum tells whether a file is what was written.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
CHECKSUM_BYTES = 4


def write_newest(folder: Path, suffix: str, seq: int, content: bytes) -> None:
    """Save a state, then remove those before it."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{seq:020d}.{suffix}"
    unfinished = target.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.write(content)
        file.write(zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "little"))
        file.flush()
        os.fsync(file.fileno())
    older = [path for path in folder.glob(f"*.{suffix}") if path != target]
    unfinished.replace(target)
    sync_folder(folder)
    for path in older:
        path.unlink()


def read_newest(folder: Path, suffix: str, read: Callable[[bytes], T]) -> tuple[int, T] | None:
    """The newest state that is whole, with its number; `read` raises ValueError at others."""
    for path in sorted(folder.glob(f"*.{suffix}"), reverse=True):
        try:
            data = path.read_bytes()
            content, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
            if zlib.crc32(content) == int.from_bytes(checksum, "little"):
                return int(path.stem), read(content)
        except (OSError, ValueError):
            continue
    return None


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
