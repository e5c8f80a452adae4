"""A thread that keeps one view up to date from the change log.

A view learns of changes in one way only, by reading the log from its own position: during normal
operation, when it catches up after a restart, and when it recovers from an error. A view whose
position was trimmed from the log is rebuilt from a snapshot of the store.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from service.disk_space import is_disk_full
from service.embedded.storage.store import Store
from service.embedded.views.retries import FIRST_PAUSE_S, Retries
from service.embedded.views.save_schedule import SaveSchedule
from service.embedded.views.view import View

logger = logging.getLogger(__name__)

BATCH = 250  # changes that are read at once


class Follower:
    """A view, the thread that updates it, and its position in the log.

    `on_save` is called after each save, `on_progress` when a position or a failure has changed;
    `has_space` returns whether the disk has space for what a view writes.
    """

    def __init__(
        self,
        view: View,
        store: Store,
        on_save: Callable[[], None],
        first_pause_s: float = FIRST_PAUSE_S,
        *,
        on_progress: Callable[[], None] = lambda: None,
        has_space: Callable[[], bool] = lambda: True,
    ) -> None:
        self.view = view
        self.applied_seq = 0
        self.saved_seq = 0
        self.rebuilt_fraction: float | None = None
        """The part of a rebuild that is done, None outside of a rebuild."""
        self._store = store
        self._on_save = on_save
        self._on_progress = on_progress
        self._retries = Retries(view.name, first_pause_s, has_space)
        self._progressed = threading.Condition()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._opened = False
        self._searchable = False
        self._retrying = False
        self._start_seq = self._end_seq = 0  # of the changes that were missed before the start
        self._saves = SaveSchedule(view)
        self._thread = threading.Thread(target=self._run, name=f"follow {view.name}")

    @property
    def visible_seq(self) -> int:
        return self.saved_seq if self.view.visible_on_save else self.applied_seq

    @property
    def is_complete(self) -> bool:
        """Whether the view can be searched: it may lag behind, but is not being rebuilt."""
        return self._searchable and self.rebuilt_fraction is None

    @property
    def progress(self) -> float | None:
        """The part of the rebuild or of the catch-up after the start that is done, 0 to 1."""
        if self.rebuilt_fraction is not None:
            return self.rebuilt_fraction
        if self.applied_seq < self._end_seq:
            done = max(self.applied_seq - self._start_seq, 0)
            return done / (self._end_seq - self._start_seq)
        return None

    @property
    def failure(self) -> str | None:
        """The error for which the view can't be updated or saved at present, for the log."""
        return self._retries.failure

    @property
    def reason(self) -> str:
        """The same for callers, without paths."""
        return self._retries.reason

    def start(self) -> None:
        """Open the view, and follow the log in the background from its saved position."""
        try:
            self._open_view_or_retry()
            self._start_seq, self._end_seq = self.applied_seq, self._store.last_seq()
            self._thread.start()
        except BaseException:
            self._close_view()
            raise

    def _open_view_or_retry(self) -> None:
        """Open the view. If the disk is too full, the thread retries, and the rest is searched."""
        try:
            self._open_view()
        except OSError as exc:
            if not is_disk_full(exc):
                raise
            self._retries.record_failure(exc)
            self._retrying = True

    def request_stop(self) -> None:
        self._stop.set()
        self._wake.set()

    def stop(self) -> None:
        """Catch up, save and close the view. If that fails, the next start catches up."""
        self.request_stop()
        self._thread.join()
        self._close_view()

    def wake(self) -> None:
        """Read the log again; called after each commit."""
        self._wake.set()

    def wait(self, seq: int, timeout: float, *, visible: bool = False) -> bool:
        """Wait until a change is applied or visible.

        Returns False after the timeout, and at once if the view has failed.
        """

        if visible:
            self.request_visible(seq)
        with self._progressed:
            self._progressed.wait_for(
                lambda: self.has_reached(seq, visible=visible) is not None, timeout
            )
            return bool(self.has_reached(seq, visible=visible))

    def has_reached(self, seq: int, *, visible: bool = False) -> bool | None:
        """Whether a change is applied or visible. None: not yet; False: the view has failed."""
        if self.is_complete and (self.visible_seq if visible else self.applied_seq) >= seq:
            return True
        return False if self._retrying or not self._thread.is_alive() else None

    def request_visible(self, seq: int) -> None:
        """Make a change visible without waiting for the next save."""
        with self._progressed:
            self._saves.request(seq)
            self._wake.set()

    def wait_for_startup(self, timeout: float) -> bool:
        """Wait for the changes that were missed before the start; False after a failure or the
        timeout.
        """

        def is_up_to_date() -> bool:
            return self.is_complete and self.progress is None

        with self._progressed:
            self._progressed.wait_for(lambda: self._retrying or is_up_to_date(), timeout)
            return is_up_to_date()

    def _run(self) -> None:
        while True:
            stopping = self._stop.is_set()
            try:
                self._update()
                if stopping and self.is_complete and self.saved_seq < self.applied_seq:
                    self._save()
            except Exception as exc:
                self._retries.record_failure(exc)
                self._retrying = True
                self._notify()
                if stopping:
                    return
                self._retries.pause(self._stop)
                self._discard_state()
                continue
            self._retrying = False
            if not self._saves.is_failing:
                self._retries.record_success()
            if stopping:
                return
            self._wake.wait(self._saves.seconds_left(self.saved_seq))
            self._wake.clear()

    def _update(self) -> None:
        """Apply all new changes, and save when it is due."""
        if not self._opened:
            self._open_view()
        if self.rebuilt_fraction is not None:
            self._rebuild()
        while self.is_complete:
            changes = self._store.changes(self.applied_seq, BATCH, self.view.vector_field)
            if changes.seq == self.applied_seq:
                break
            self.view.apply(changes.added, changes.removed)
            self._advance(changes.seq, len(changes.added) + len(changes.removed))
            if self._saves.is_due(self.saved_seq):
                self._save()
        if self._saves.is_due(self.saved_seq):
            self._save()

    def _open_view(self) -> None:
        seq = self.view.open()
        if seq is None and (self._store.last_seq() == 0 or self._was_complete_at_0()):
            seq = 0
        if seq is None or not self._store.log_trimmed_to() <= seq <= self._store.last_seq():
            self.rebuilt_fraction, seq = 0.0, 0
        else:
            self.rebuilt_fraction = None
        self.applied_seq = self.saved_seq = seq
        self._opened = self._searchable = True

    def _was_complete_at_0(self) -> bool:
        """Whether a failure came before the first save, and the log still has every change.

        Then searches, which see the last save, go on to find nothing.
        """
        was_complete = self._searchable and self.rebuilt_fraction is None and not self.saved_seq
        return was_complete and self._store.log_trimmed_to() == 0

    def _rebuild(self) -> None:
        """Rebuild the view from a snapshot with stored vectors: no text is embedded again."""
        self.view.reset()
        with self._store.snapshot(self.view.vector_field) as snapshot:
            done = 0
            for batch in snapshot.batches:
                if self._stop.is_set():
                    return
                self.view.apply(batch, [])
                done += len(batch)
                self.rebuilt_fraction = done / max(snapshot.total, 1)
        self._advance(snapshot.seq, done)
        if self.view.visible_on_save and self.saved_seq < self.applied_seq:
            self._save()  # before it counts as complete, or searches would find nothing
        self.rebuilt_fraction = None
        self._notify()
        if self.saved_seq < self.applied_seq:
            self._save()

    def _advance(self, seq: int, count: int) -> None:
        self._saves.changed(count)
        self.applied_seq = seq
        self._notify()

    def _save(self) -> None:
        try:
            self.view.save(self.applied_seq)
        except Exception as exc:
            if self.view.visible_on_save:
                raise
            self._retries.record_failure(exc)  # the state in memory is intact, so keep following
            self._saves.save_failed(self._retries.next_pause_s())
            return
        self._saves.saved()
        self.saved_seq = self.applied_seq
        self._notify()
        self._on_save()

    def _notify(self) -> None:
        """Let those who wait look again, after what they wait for has changed."""
        with self._progressed:
            self._progressed.notify_all()
        self._on_progress()

    def _discard_state(self) -> None:
        """Have the view opened again: the state in memory may be half updated.

        The saved state is intact. Where searches see only that, they go on.
        """
        self._opened, self._searchable = False, self._searchable and self.view.visible_on_save
        self._saves.discard()

    def _close_view(self) -> None:
        try:
            self.view.close()
        except Exception:
            logger.exception("%s could not be closed cleanly", self.view.name)
