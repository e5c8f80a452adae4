"""When a view is saved: after enough changes, after a time, or so that a change becomes visible."""

from __future__ import annotations

import time

from service.embedded.views.view import View


class SaveSchedule:
    """The changes of one view that are not saved yet. Its `Follower` calls it from one thread."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._unsaved_changes = 0
        self._unsaved_since: float | None = None
        self._not_before = 0.0  # after a save that failed
        self._requested_seq = 0

    def request(self, seq: int) -> None:
        """A change has to become visible, without waiting for the next save. From any thread,
        but one at a time.
        """
        self._requested_seq = max(self._requested_seq, seq)

    def changed(self, count: int) -> None:
        """So many changes were applied."""
        self._unsaved_changes += count
        if self._unsaved_since is None:
            self._unsaved_since = time.monotonic()

    def saved(self) -> None:
        self._not_before = 0.0
        self.discard()

    def save_failed(self, pause_s: float) -> None:
        """The next save is tried after the pause."""
        self._not_before = time.monotonic() + pause_s

    def discard(self) -> None:
        """The unsaved changes were lost, and will be applied again."""
        self._unsaved_changes, self._unsaved_since = 0, None

    @property
    def is_failing(self) -> bool:
        """Whether the last save failed."""
        return bool(self._not_before)

    def is_due(self, saved_seq: int) -> bool:
        if time.monotonic() < self._not_before:
            return False
        enough_changes = self._unsaved_changes >= self._view.save_after_changes
        return enough_changes or self.seconds_left(saved_seq) == 0

    def seconds_left(self, saved_seq: int) -> float | None:
        """Return the time until the next save, None if there is nothing to save."""
        if self._unsaved_since is None:
            return None
        if self._view.visible_on_save and saved_seq < self._requested_seq:
            return 0
        due = max(self._unsaved_since + self._view.save_after_s, self._not_before)
        return max(due - time.monotonic(), 0)
