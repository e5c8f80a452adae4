"""The interface of a view: a search structure that is kept up to date from the change log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.embedded.storage.store import Document


class View(Protocol):
    """A search structure over the documents. Its `Follower` calls it from one thread."""

    name: str
    vector_field: str | None
    """The field whose vectors `apply` needs."""
    save_after_s: float
    """The longest time between a change and the next save."""
    visible_on_save: bool
    """Whether searches see a change only after `save`, not already after `apply`."""

    @property
    def save_after_changes(self) -> int:
        """The number of changes after which the view is saved."""
        ...

    def open(self) -> int | None:
        """Load the last saved state. Returns its sequence number, None if nothing is saved."""
        ...

    def reset(self) -> None:
        """Delete everything, saved state included."""
        ...

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        """Apply changes, some of which may have been applied before."""
        ...

    def save(self, seq: int) -> None:
        """Save the state, which includes every change up to `seq`."""
        ...

    def close(self) -> None: ...
