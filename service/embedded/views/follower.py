"""Views of the store, each kept in step with its log by a thread of its own.

Knows nothing of what a view is for. There is one way for a view to learn of a change, whether it is
live, catching up after a crash, or being mended: it reads the log from where it is. A view that the
log does not reach any more is rebuilt from a snapshot, while searches that can do without it go on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from service.backoff import Backoff
from service.embedded.storage.store import Document, Store

logger = logging.getLogger(__name__)

STEP = 250  # changes that are read at once
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0  # before a view that failed is tried again


class View(Protocol):
    """One way of searching the records."""

    name: str
    vector_field: str | None
    """The field whose vectors it needs to see."""
    save_within_s: float
    """Seconds after which a change is saved."""
    shown_by_saving: bool
    """Whether searches see a change when it is saved, and not when it is applied."""

    @property
    def save_every(self) -> int:
        """Changes after which it is saved."""
        ...

    def open(self) -> int | None:
        """Take up what is saved: the change up to which it is complete, None if nothing is."""
        ...

    def reset(self) -> None:
        """Begin anew with nothing."""
        ...

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None: ...

    def save(self, seq: int) -> None: ...

    def close(self) -> None: ...


class Follower:
    """A view, its thread, and how far they are."""

    def __init__(
        self,
        view: View,
        store: Store,
        saved: Callable[[], None],
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self.view = view
        self.rebuilding: float | None = None
        """How much of a rebuild is done, from 0 to 1."""
        self.trouble: str | None = None
        """Why the view can't follow, or can't be saved, at present."""
        self.applied = self.saved = 0
        self._store = store
        self._on_saved = saved
        self._moved = threading.Condition()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._flush = 0
        self._begin = self._end = 0
        self._opened = False
        self._stuck = False
        self._backoff = Backoff(first_pause_s, LONGEST_PAUSE_S, jitter=False)
        self._failures = 0  # since it last worked
        self._save_not_before = 0.0
        self._unsaved_since: float | None = None
        self._unsaved = 0
        self._thread = threading.Thread(target=self._run, name=f"follow {view.name}")

    @property
    def visible(self) -> int:
        return self.saved if self.view.shown_by_saving else self.applied

    @property
    def complete(self) -> bool:
        """Whether it holds what it once held: it may be behind, but it is not being made anew."""
        return self._opened and self.rebuilding is None

    @property
    def progress(self) -> float | None:
        """How much is done, from 0 to 1, of a rebuild, or of what was missed before the start."""
        if self.rebuilding is not None:
            return self.rebuilding
        if self.applied < self._end:
            return max(self.applied - self._begin, 0) / (self._end - self._begin)
        return None

    def start(self) -> None:
        """Take up what is saved, and follow from there in the background."""
        try:
            self._take_up()
            self._begin, self._end = self.applied, self._store.last_seq()
            self._thread.start()
        except BaseException:
            self._close_view()
            raise

    def ask_to_stop(self) -> None:
        self._stop.set()
        self._wake.set()

    def stop(self) -> None:
        """Catch up, save, and end; what can't be saved is caught up at the next start."""
        self.ask_to_stop()
        self._thread.join()
        self._close_view()

    def wake(self) -> None:
        """There is something new in the log."""
        self._wake.set()

    def wait(self, seq: int, timeout: float, *, visible: bool = False) -> bool:
        """Wait until a change is applied or visible; False if it is not, in time or for trouble."""

        def reached() -> bool:
            return self.complete and (self.visible if visible else self.applied) >= seq

        with self._moved:
            if visible:
                self._flush = max(self._flush, seq)
                self._wake.set()
            self._moved.wait_for(lambda: reached() or self._stuck, timeout)
            return reached()

    def wait_caught_up(self, timeout: float) -> bool:
        """Wait until it has all that was there at the start; False if it has not, in time."""
        with self._moved:
            return self._moved.wait_for(lambda: self.complete and self.progress is None, timeout)

    def _run(self) -> None:
        while True:
            stopping = self._stop.is_set()
            try:
                self._follow()
                if stopping and self.complete and self.saved < self.applied:
                    self._save()
            except Exception as exc:
                self._tell(exc)
                with self._moved:
                    self._stuck = True
                    self._moved.notify_all()
                if stopping:
                    return
                self._stop.wait(self._next_pause())  # a write is no reason to try again sooner
                self._mend()
                continue
            self._stuck = False
            if not self._save_not_before:
                self.trouble, self._failures = None, 0
            if stopping:
                return
            self._wake.wait(self._until_save())
            self._wake.clear()

    def _follow(self) -> None:
        """Apply what there is; save when it is due."""
        if not self._opened:
            self._take_up()
        if self.rebuilding is not None:
            self._rebuild()
        while self.complete:
            changes = self._store.changes(self.applied, STEP, self.view.vector_field)
            if changes.seq == self.applied:
                break
            self.view.apply(changes.added, changes.removed)
            self._advance(changes.seq, len(changes.added) + len(changes.removed))
            if self._save_is_due():
                self._save()
        if self._save_is_due():
            self._save()

    def _take_up(self) -> None:
        found = self.view.open()
        if found is None and self._store.last_seq() == 0:
            found = 0  # there is nothing yet, and all of it is there
        if found is None or not self._store.log_trimmed_to() <= found <= self._store.last_seq():
            self.rebuilding, found = 0.0, 0
        else:
            self.rebuilding = None
        self.applied = self.saved = found
        self._opened = True

    def _rebuild(self) -> None:
        """From a snapshot, with the vectors that are stored: nothing is embedded again."""
        self.view.reset()
        with self._store.snapshot(self.view.vector_field) as snapshot:
            done = 0
            for batch in snapshot.batches:
                if self._stop.is_set():
                    return
                self.view.apply(batch, [])
                done += len(batch)
                self.rebuilding = done / max(snapshot.total, 1)
        self._advance(snapshot.seq, done)
        if self.view.shown_by_saving and self.saved < self.applied:
            self._save()  # or there would be nothing to be found yet
        with self._moved:
            self.rebuilding = None
            self._moved.notify_all()
        if self.saved < self.applied:
            self._save()

    def _advance(self, seq: int, count: int) -> None:
        self._unsaved += count
        if self._unsaved_since is None:
            self._unsaved_since = time.monotonic()
        with self._moved:
            self.applied = seq
            self._moved.notify_all()

    def _save(self) -> None:
        try:
            self.view.save(self.applied)
        except Exception as exc:
            if self.view.shown_by_saving:
                raise
            self._tell(exc)  # in memory it is whole: it goes on following
            self._save_not_before = time.monotonic() + self._next_pause()
            return
        self._save_not_before = 0.0
        self._unsaved, self._unsaved_since = 0, None
        with self._moved:
            self.saved = self.applied
            self._moved.notify_all()
        self._on_saved()

    def _save_is_due(self) -> bool:
        if time.monotonic() < self._save_not_before:
            return False
        return self._unsaved >= self.view.save_every or self._until_save() == 0

    def _until_save(self) -> float | None:
        """Seconds; None if there is nothing to be saved."""
        if self._unsaved_since is None:
            return None
        if self.view.shown_by_saving and self.saved < self._flush:
            return 0
        due = max(self._unsaved_since + self.view.save_within_s, self._save_not_before)
        return max(due - time.monotonic(), 0)

    def _tell(self, exc: Exception) -> None:
        if self.trouble is None:
            logger.error("%s is in trouble, and tries again", self.view.name, exc_info=exc)
        self.trouble = f"{type(exc).__name__}: {exc}"

    def _next_pause(self) -> float:
        self._failures += 1
        return self._backoff.pause_s(self._failures)

    def _mend(self) -> None:
        """Forget what is in memory: it may be half of something. What is saved is whole."""
        self._opened, self._unsaved, self._unsaved_since = False, 0, None
        self._close_view()

    def _close_view(self) -> None:
        try:
            self.view.close()
        except Exception:
            logger.exception("%s did not close cleanly", self.view.name)
