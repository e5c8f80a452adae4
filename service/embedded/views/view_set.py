"""All views of one index, led along its log: opened and closed together, and waited for.

Knows nothing of what a view is for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeVar

from service.embedded.storage.operations import TrimLog
from service.embedded.storage.store import Store
from service.embedded.views.follower import Follower, View

PATIENCE_S = 30.0  # with a view that has to catch up
START_WITHIN_S = 10.0  # from then on, who asks is told how far it is
MAX_BEHIND = 2_000  # changes that a view may be behind before writes wait for it: about a second
CUT_EVERY = 20_000  # changes

ViewT = TypeVar("ViewT", bound=View)


class TemporarilyUnavailable(Exception):
    """The view that a search needs is being made anew, or does not follow at present."""


class ViewSet:
    """Empty until it is told to lead."""

    def __init__(self) -> None:
        self._followers: dict[View, Follower] = {}
        self._all: Sequence[View] = ()
        self._cut_at = 0

    def __getitem__(self, view: View) -> Follower:
        return self._followers[view]

    def start(self, views: Sequence[View], store: Store) -> None:
        """Open every view; what has to be rebuilt is rebuilt in the background."""
        self._store, self._all = store, views
        for view in views:
            follower = Follower(view, store, self._cut)
            follower.start()
            self._followers[view] = follower
        # Small indexes are whole before anybody asks; large ones say how far they are.
        until = time.monotonic() + START_WITHIN_S
        for follower in self._followers.values():
            follower.wait_caught_up(max(until - time.monotonic(), 0))

    def stop(self) -> None:
        """Save every view, and let its thread end."""
        for follower in self._followers.values():
            follower.ask_to_stop()
        for follower in self._followers.values():
            follower.stop()

    def wake(self) -> None:
        """By the thread that writes: whoever asked for a write may have been cancelled."""
        for follower in list(self._followers.values()):
            follower.wake()

    def is_lagging(self) -> bool:
        applied = self._applied()
        return bool(applied) and self._store.last_seq() - min(applied) > MAX_BEHIND

    def wait_for_lagging_views(self) -> None:
        """Wait until no view is too far behind."""
        seq = self._store.last_seq() - MAX_BEHIND
        for follower in self._followers.values():
            if follower.rebuilding is None:
                follower.wait(seq, PATIENCE_S)

    def wait_until_visible(self, seq: int) -> None:
        """Wait until searches see a change."""
        for view in self._all:
            self.wait_for(view, seq, visible=True)

    def wait_for(self, view: View, seq: int, *, visible: bool = False) -> None:
        """Wait for one view; `TemporarilyUnavailable` if it does not get there."""
        if not self._followers[view].wait(seq, PATIENCE_S, visible=visible):
            raise TemporarilyUnavailable(f"{view.name} is behind; try again")

    def require_complete(self, view: ViewT | None) -> ViewT:
        """The view, if it can be searched."""
        assert view is not None, "the schema has the field"  # noqa: S101 - the plane has checked
        follower = self._followers[view]
        if not follower.complete:
            done = follower.rebuilding or 0.0
            raise TemporarilyUnavailable(f"{view.name} is being rebuilt, {done:.0%} done")
        return view

    def rebuild_progress(self, views: Sequence[View]) -> float | None:
        """How much is done of what has to be done before these views can answer in full."""
        done = [self._followers[view].progress for view in views]
        return min((each for each in done if each is not None), default=None)

    def failures(self) -> dict[str, str]:
        """The views that can't follow at present, and why."""
        followers = self._followers.values()
        return {each.view.name: each.trouble for each in followers if each.trouble is not None}

    def _applied(self) -> list[int]:
        """A view that is made anew is not waited for: it reads what there is, not the log."""
        return [each.applied for each in self._followers.values() if each.rebuilding is None]

    def _cut(self) -> None:
        """Shorten the log by what every view has saved."""
        if len(self._followers) < len(self._all):
            return
        seq = min(follower.saved for follower in self._followers.values())
        if seq - self._cut_at >= CUT_EVERY:
            self._cut_at = seq
            self._store.submit([TrimLog(seq)])
