"""Uploads on disk: `<id>.part` while one arrives, `<id>.spool` until its job has ended.

The process that works on a file holds a lock on it. The lock ends with the process, also if it was
killed. Everything here may block.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from pathlib import Path

from service.disk_space import DiskSpace, Usage

PARTIAL, UPLOADED = ".part", ".spool"
NODE = "node"


class SpoolFile:
    """A file that this process has locked. `close` releases the lock."""

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

    def commit(self) -> None:
        """Make the complete upload durable, under its final name."""
        os.fsync(self.descriptor)
        uploaded = self.path.with_suffix(UPLOADED)
        self.path.rename(uploaded)
        self.path = uploaded
        _sync(uploaded.parent)

    def remove(self) -> None:
        """Delete the file, and then release the lock, so that no other process takes it."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Spool:
    """The folder of the uploads. `usage` returns how full its disk is."""

    def __init__(self, folder: Path, usage: Usage = shutil.disk_usage) -> None:
        self.folder = folder
        self.disk = DiskSpace(folder, usage)

    def node(self) -> str:
        """The unique name of this folder. Creates the folder if it does not exist."""
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

    def create(self, id: str) -> SpoolFile:
        """A new file for an upload, locked."""
        path = self.folder / f"{id}{PARTIAL}"
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return SpoolFile(path, descriptor)
            os.close(descriptor)  # a cleanup removed it before it was locked

    def uploaded(self) -> list[str]:
        """The ids of complete uploads, oldest first."""
        return sorted(path.stem for path in self.folder.glob(f"*{UPLOADED}"))

    def partial(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob(f"*{PARTIAL}"))

    def has(self, id: str) -> bool:
        return (self.folder / f"{id}{UPLOADED}").exists()

    def lock(self, id: str, suffix: str = UPLOADED) -> SpoolFile | None:
        """Lock a file; None if it does not exist, or another process has locked it."""
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
            return SpoolFile(path, descriptor)
        os.close(descriptor)  # it was removed or renamed before it was locked
        return None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
