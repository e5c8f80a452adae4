"""All views of one index: started, waited for and stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from service.disk_space import DiskSpace
from service.embedded.engine_state import ViewState
from service.embedded.storage.operations import TrimLog
from service.embedded.storage.store import Store
from service.embedded.views.follower import Follower
from service.embedded.views.view import View

WAIT_S = 30.0  # for a view to catch up
STARTUP_WAIT_S = 10.0  # after that, searches report the progress of views that still catch up
MAX_LAG = 2_000  # changes that a view may lag behind before writes wait: about a second
TRIM_EVERY = 20_000  # changes

ViewT = TypeVar("ViewT", bound=View)


class TemporarilyUnavailable(Exception):
    """The request can't be answered at present, for example while a view is rebuilt."""


class ViewSet:
    """Has no views until `start`. `disk` is that of the store and of the views."""

    def __init__(self, disk: DiskSpace) -> None:
        self._disk = disk
        self._listeners: set[Callable[[], None]] = set()
        self._listeners_lock = threading.Lock()
        self._followers: dict[View, Follower] = {}
        self._views: Sequence[View] = ()
        self._trimmed_to = 0

    def __getitem__(self, view: View) -> Follower:
        return self._followers[view]

    def start(self, views: Sequence[View], store: Store) -> None:
        """Open every view; those that can't catch up from the log rebuild in the background."""
        self._store, self._views = store, views
        for view in views:
            follower = Follower(
                view,
                store,
                self._trim_log,
                on_progress=self._on_progress,
                has_space=self._disk.has_any,
            )
            follower.start()
            self._followers[view] = follower
        deadline = time.monotonic() + STARTUP_WAIT_S
        for follower in self._followers.values():
            follower.wait_for_startup(max(deadline - time.monotonic(), 0))

    def stop(self) -> None:
        """Save and close every view, and end the threads."""
        for follower in self._followers.values():
            follower.request_stop()
        for follower in self._followers.values():
            follower.stop()

    def wake(self) -> None:
        """Make the views read the log; the writing thread calls this after each commit."""
        for follower in list(self._followers.values()):
            follower.wake()

    def is_lagging(self) -> bool:
        """Whether a view lags so far behind that writes have to wait.

        A view that is being rebuilt does not count: it reads a snapshot, not the log.
        """
        followers = self._followers.values()
        applied = [each.applied_seq for each in followers if each.rebuilt_fraction is None]
        return bool(applied) and self._store.last_seq() - min(applied) > MAX_LAG

    def wait_for_lagging_views(self) -> None:
        seq = self._store.last_seq() - MAX_LAG
        for follower in self._followers.values():
            if follower.rebuilt_fraction is None:
                follower.wait(seq, WAIT_S)

    async def wait_until_visible(self, seq: int) -> None:
        """Wait until searches see a change, in every view. No thread waits meanwhile.

        Raises `TemporarilyUnavailable` after a timeout, and at once if a view has failed.
        """
        for follower in self._followers.values():
            follower.request_visible(seq)
        with self._progress() as progressed:
            try:
                async with asyncio.timeout(WAIT_S):
                    while not self._is_visible(seq):
                        await progressed.wait()
                        progressed.clear()
            except TimeoutError:
                raise TemporarilyUnavailable("searches are behind; try again") from None

    def _is_visible(self, seq: int) -> bool:
        reached = {
            view.name: self._followers[view].has_reached(seq, visible=True) for view in self._views
        }
        for name, result in reached.items():
            if result is False:
                raise TemporarilyUnavailable(f"{name} is behind; try again")
        return all(reached.values())

    @contextlib.contextmanager
    def _progress(self) -> Iterator[asyncio.Event]:
        """An event of this loop that is set whenever a view has made progress, or failed."""
        loop, progressed = asyncio.get_running_loop(), asyncio.Event()

        def notify() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(progressed.set)

        with self._listeners_lock:
            self._listeners.add(notify)
        try:
            yield progressed
        finally:
            with self._listeners_lock:
                self._listeners.discard(notify)

    def _on_progress(self) -> None:
        with self._listeners_lock:
            for notify in self._listeners:
                notify()

    def wait_for(self, view: View, seq: int, *, visible: bool = False) -> None:
        """Wait for one view; raises `TemporarilyUnavailable` after a timeout."""
        if not self._followers[view].wait(seq, WAIT_S, visible=visible):
            raise TemporarilyUnavailable(f"{view.name} is behind; try again")

    def require_complete(self, view: ViewT | None) -> ViewT:
        """Return the view; raises `TemporarilyUnavailable` while it is being rebuilt."""
        assert view is not None, "the caller has checked the schema"  # noqa: S101
        follower = self._followers[view]
        if not follower.is_complete:
            if follower.failure is not None:
                raise TemporarilyUnavailable(
                    f"{view.name} can't be rebuilt at present, and is retried: {follower.reason}"
                )
            done = follower.rebuilt_fraction or 0.0
            raise TemporarilyUnavailable(f"{view.name} is being rebuilt, {done:.0%} done")
        return view

    def rebuild_progress(self, views: Sequence[View]) -> float | None:
        """Return the progress of the slowest of these views; None if all are up to date."""
        progress = [self._followers[view].progress for view in views]
        return min((each for each in progress if each is not None), default=None)

    def failures(self) -> dict[str, str]:
        """Return the error of each view that can't be updated or saved at present."""
        followers = self._followers.values()
        return {each.view.name: each.failure for each in followers if each.failure is not None}

    def states(self) -> list[ViewState]:
        """Return the state of each view. A rebuild is not behind: it reads a snapshot."""
        seq = self._store.last_seq()
        return [
            ViewState(
                each.view.name,
                max(seq - each.applied_seq, 0) if each.rebuilt_fraction is None else 0,
                each.is_complete,
                each.failure is not None,
            )
            for each in list(self._followers.values())
        ]

    def _trim_log(self) -> None:
        """Delete the part of the log that every view has saved: now and then, as it is costly.

        On a disk that is short of space it is done at once: the log has what was deleted.
        """
        if len(self._followers) < len(self._views):
            return
        seq = min(follower.saved_seq for follower in self._followers.values())
        if seq - self._trimmed_to >= (1 if self._disk.is_short() else TRIM_EVERY):
            self._trimmed_to = seq
            self._store.submit([TrimLog(seq)])
