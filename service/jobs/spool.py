"""Uploads on disk: `<id>.part` while one arrives, `<id>.spool` until its job has ended.

The process that works on a file holds a lock on it. The lock ends with the process, also if it was
killed. Everything here may block.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from service.disk_space import DiskSpace, Usage
from service.private_files import make_private_file, make_private_folder

logger = logging.getLogger(__name__)

PARTIAL, UPLOADED = ".part", ".spool"
NODE = "node"
NODE_NAME = re.compile(rb"[0-9a-f]{32}")


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
        """The unique name of this folder. Creates the folder if it does not exist.

        A name that can't be read is replaced: its jobs are found by their uploads.
        """
        make_private_folder(self.folder.parent)
        make_private_folder(self.folder)
        path = self.folder / NODE
        with self._locked():
            with contextlib.suppress(FileNotFoundError):
                name = path.read_bytes().strip()
                if NODE_NAME.fullmatch(name):
                    return name.decode()
                logger.warning("%s is damaged: this folder of imports gets a new name", path)
            fresh = secrets.token_hex(16)
            mine = self.folder / f"{NODE}.{secrets.token_hex(4)}"
            make_private_file(mine)
            with mine.open("w") as file:
                file.write(fresh)
                file.flush()
                os.fsync(file.fileno())
            mine.replace(path)
        return fresh

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from naming the folder meanwhile."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

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
