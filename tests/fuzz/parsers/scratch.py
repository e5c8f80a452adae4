"""Folders for what a parser needs on disk."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path


def scratch_folder() -> Path:
    """A new folder, removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="cascade-fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
