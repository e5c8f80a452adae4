"""Folders and files that only their owner may read: records and uploads are nobody else's."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

FOLDER_MODE, FILE_MODE = 0o700, 0o600
OTHERS = 0o007


def make_private_folder(path: Path) -> None:
    """Make a folder for the owner only. An existing one keeps its mode."""
    if path.is_dir():
        return
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=FOLDER_MODE, exist_ok=True)


def make_private_file(path: Path) -> None:
    """Make an empty file for the owner only. An existing one keeps its content and its mode."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))


def is_open_to_others(path: Path) -> bool:
    """Whether users who are neither the owner nor in the group may read or enter a folder."""
    return bool(path.stat().st_mode & OTHERS)
