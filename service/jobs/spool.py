"""Uploads on disk: `<id>.part` while one arrives, `<id>.spool` until its job has ended.

Knows no jobs. A file is locked by whoever works on it. The lock ends with the process, however that
ends, so nobody has to guess whether another one is still at it. Everything here may block.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

PART, WHOLE = ".part", ".spool"
NODE = "node"
MIB = 2**20

Usage = Callable[[Path], tuple[int, int, int]]  # of a disk in bytes: all, used, free


class Held:
    """A file that this process has locked. `close` gives it free, `remove` for good."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self.descriptor, left) :]

    def keep(self) -> None:
        """It is whole, and stays so whatever happens from now on."""
        os.fsync(self.descriptor)
        whole = self.path.with_suffix(WHOLE)
        self.path.rename(whole)
        self.path = whole
        _sync(whole.parent)

    def remove(self) -> None:
        """While it is locked, so that nobody else takes it up in between."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Spool:
    """The folder of the uploads."""

    def __init__(self, folder: Path, usage: Usage = shutil.disk_usage) -> None:
        self.folder = folder
        self._usage = usage

    def node(self) -> str:
        """A name for this disk, which nothing else has. Makes the folder where there is none."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / NODE
        if not path.exists():
            mine = self.folder / f"{NODE}.{secrets.token_hex(4)}"
            with mine.open("w") as file:
                file.write(secrets.token_hex(16))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(mine, path)
            mine.unlink()
        return path.read_text().strip()

    def space(self) -> tuple[int, int]:
        """Bytes that are free on its disk, and those of them that uploads have to leave free."""
        total, _, free = self._usage(self.folder)
        return free, max(64 * MIB, min(total // 20, 256 * MIB))

    def new(self, id: str) -> Held:
        """A file for an upload that begins."""
        path = self.folder / f"{id}{PART}"
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return Held(path, descriptor)
            os.close(descriptor)  # tidied away before it was locked

    def whole(self) -> list[str]:
        """The ids of what waits or is worked on, oldest first."""
        return sorted(path.stem for path in self.folder.glob(f"*{WHOLE}"))

    def parts(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob(f"*{PART}"))

    def has(self, id: str) -> bool:
        return (self.folder / f"{id}{WHOLE}").exists()

    def take(self, id: str, suffix: str = WHOLE) -> Held | None:
        """Lock a file; None where it is not there, or somebody else is at it."""
        path = self.folder / f"{id}{suffix}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if path.exists():
            return Held(path, descriptor)
        os.close(descriptor)  # whoever had it removed it, or named it otherwise
        return None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
