"""The base of a view: a search structure that is kept up to date from the change log."""

from __future__ import annotations

import contextlib
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from service.embedded.storage.store import Document

VISIBLE_WITHIN_S = 0.3
SAVE_AFTER_S = 300.0  # for views whose changes are visible before they are saved
SAVE_AFTER_CHANGES = 10_000
DELETE_ATTEMPTS = 5
CHECKPOINTED = ("dense", "sparse", "corpus")  # kinds of views, and the names of their folders


class View(ABC):
    """A search structure over the documents. Its `Follower` calls it from one thread."""

    name: str
    vector_field: str | None = None
    """The field whose vectors `apply` needs."""
    save_after_s = SAVE_AFTER_S
    """The longest time between a change and the next save."""
    save_after_changes = SAVE_AFTER_CHANGES
    """The number of changes after which the view is saved."""
    visible_on_save = False
    """Whether searches see a change only after `save`, not already after `apply`."""

    @abstractmethod
    def open(self) -> int | None:
        """Load the last saved state. Returns its sequence number, None if nothing is saved.

        After an error, this replaces the state in memory, which may be half updated.
        """

    @abstractmethod
    def reset(self) -> None:
        """Delete everything, saved state included."""

    @abstractmethod
    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        """Apply changes, some of which may have been applied before."""

    @abstractmethod
    def save(self, seq: int) -> None:
        """Save the state, which includes every change up to `seq`."""

    def close(self) -> None:  # noqa: B027 - memory is freed with the object
        """Release what is more than memory."""


def field_folder(folder: Path, kind: str, field: str) -> Path:
    """The folder of a field's view. Field names may have any characters, so it is in hex."""
    return folder / kind / field.encode("utf-8", "surrogatepass").hex()[:200]


def have_saved_content(folder: Path) -> bool:
    """Whether a saved view of an index has documents, or had some."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads((folder / "lexical" / "meta.json").read_bytes())["segments"]:
            return True
    checkpoints = (path for kind in CHECKPOINTED for path in (folder / kind).rglob("*"))
    return any(path.stem.isdecimal() and int(path.stem) for path in checkpoints)


def delete_views(folder: Path) -> None:
    """Delete the saved views of an index that is not open; the next start rebuilds them."""
    for kind in ("lexical", *CHECKPOINTED):
        delete_folder(folder / kind)


def delete_folder(folder: Path) -> None:
    """Delete a folder, so that a later start does not load it as this store's state."""
    for _ in range(DELETE_ATTEMPTS):  # a thread of tantivy may still create a file
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    shutil.rmtree(folder)
