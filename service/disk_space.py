"""The space on a disk: how much has to stay free, and which errors say that there is none.

Uploads and new records leave a reserve. It is for what must go on when they are refused: deletions,
checkpoints, and the write-ahead log.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

MIB = 2**20
SMALLEST_RESERVE, LARGEST_RESERVE = 64 * MIB, 256 * MIB
RESERVED_SHARE = 20  # a twentieth of the disk, within these bounds
LARGEST_SHARE = 4  # a quarter, of a disk so small that the smallest reserve would be more

ALWAYS_FREE_SHARE = 4  # a quarter of the reserve
ENOUGH = 4 * MIB  # for a while, of a disk that was full

Usage = Callable[[Path], tuple[int, int, int]]  # of a disk in bytes: all, used, free

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# SQLite reports a quota and a limit on the size of files as a failed write, and no space for the
# file of shared memory as a failure of that.
SQLITE_FULL = {
    "SQLITE_FULL",
    "SQLITE_IOERR_WRITE",
    "SQLITE_IOERR_SHMSIZE",
    "SQLITE_IOERR_SHMOPEN",
    "SQLITE_IOERR_SHMMAP",
}


class DiskFull(Exception):
    """The disk has too little space for what was to be written."""


class DiskSpace:
    """The disk of `folder`. `usage` returns how full it is."""

    def __init__(self, folder: Path, usage: Usage = shutil.disk_usage) -> None:
        self._folder = folder
        self._usage = usage

    def measure(self) -> tuple[int, int]:
        """The free bytes on the disk, and how many of them have to stay free."""
        total, _, free = self._usage(self._folder)
        wanted = max(SMALLEST_RESERVE, min(total // RESERVED_SHARE, LARGEST_RESERVE))
        return free, min(wanted, total // LARGEST_SHARE)

    def is_short(self) -> bool:
        """Whether the reserve is not free."""
        free, reserve = self.measure()
        return free < reserve

    def shortage(self, size: int, reusable: int = 0) -> str | None:
        """What is free and what has to stay free, if `size` more bytes would not leave that.

        `reusable` bytes of the file that grows are empty. A part of the reserve has to be free in
        any case, for what is written beside that file.
        """
        free, reserve = self.measure()
        if free + reusable - size >= reserve and free >= reserve // ALWAYS_FREE_SHARE:
            return None
        return f"{free // MIB} MiB, of which {reserve // MIB} MiB have to stay free"

    def has_any(self) -> bool:
        """Whether there is space for a small file."""
        with contextlib.suppress(OSError):
            return self._usage(self._folder)[2] >= ENOUGH
        return False


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of the operating system or of SQLite says that there is no space."""
    if isinstance(error, OSError):
        return error.errno in FULL
    return getattr(error, "sqlite_errorname", None) in SQLITE_FULL and isinstance(
        error, sqlite3.Error
    )
