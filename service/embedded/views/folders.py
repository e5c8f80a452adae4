"""The folders that views save to, and how often views are saved."""

from __future__ import annotations

import shutil
from pathlib import Path

VISIBLE_WITHIN_S = 0.3
SAVE_AFTER_S = 300.0  # for views whose changes are visible before they are saved
SAVE_AFTER_CHANGES = 10_000
DELETE_ATTEMPTS = 5


def delete_views(folder: Path) -> None:
    """Delete the saved views of an index that is not open; the next start rebuilds them."""
    for kind in ("lexical", "dense", "sparse", "corpus"):
        delete_folder(folder / kind)


def delete_folder(folder: Path) -> None:
    """Delete a folder, so that a later start does not load it as this store's state."""
    for _ in range(DELETE_ATTEMPTS):  # a thread of tantivy may still create a file
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    shutil.rmtree(folder)
