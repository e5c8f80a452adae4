"""Follower: catching up, rebuilding, saving, and recovery from failures."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.embedded.storage.operations import ClearNamespace, Delete, Put, TrimLog
from service.embedded.storage.store import Document, Store
from service.embedded.views.follower import Follower
from service.embedded.views.view import View

LONG = 60.0  # seconds after which something has gone wrong


class Saved:
    """The saved state of a view."""

    def __init__(self) -> None:
        self.seq: int | None = None
        self.content: dict[int, dict[str, Any]] = {}


class DictView(View):
    """A view that keeps documents in a dict and fails when the test says so."""

    vector_field: str | None = "v"

    def __init__(
        self, saved: Saved, *, visible_on_save: bool = False, save_after_s: float = 0.05
    ) -> None:
        self.name = "the view of the test"
        self.save_after_changes, self.save_after_s = 1_000, save_after_s
        self.visible_on_save = visible_on_save
        self.disk = saved
        self.content: dict[int, dict[str, Any]] = {}
        self.searched: dict[int, dict[str, Any]] = {}
        self.opened = self.closed = self.resets = self.saves = self.tries = 0
        self.failing: dict[str, Exception] = {}
        self.batches = 0
        self.before_open: Callable[[], None] = lambda: None
        self.before_apply: Callable[[], None] = lambda: None
        self.before_save: Callable[[], None] = lambda: None

    def open(self) -> int | None:
        self.before_open()
        self.opened += 1
        self._fail("open")
        self.content = dict(self.disk.content)
        self.searched = dict(self.disk.content)
        return self.disk.seq

    def reset(self) -> None:
        self.resets += 1
        self._fail("reset")
        self.content = {}
        self.searched = {}

    def apply(self, added: Sequence[Document], removed: Sequence[Document]) -> None:
        self.before_apply()
        self.batches += 1
        self.tries += 1
        for each in added:
            # Without one, it has been removed since the log was read, which comes next.
            assert each.vectors in ({"v": b"1234"}, {})
            self.content[each.docno] = each.fields
            self._fail("apply")  # in the middle of it
        for each in removed:
            self.content.pop(each.docno, None)
        if not self.visible_on_save:
            self.searched = self.content

    def save(self, seq: int) -> None:
        self.before_save()
        self._fail("save")
        self.saves += 1
        self.disk.seq, self.disk.content = seq, dict(self.content)
        self.searched = dict(self.content)

    def close(self) -> None:
        self.closed += 1
        self._fail("close")
        if self.visible_on_save:
            self.searched = {}

    def _fail(self, at: str) -> None:
        if at in self.failing:
            raise self.failing[at]


class FollowedStore(Store):
    """A store that wakes its followers."""

    def __init__(self, path: Path) -> None:
        self.followers: list[Follower] = []
        super().__init__(path, self.wake)

    def wake(self) -> None:
        for follower in self.followers:
            follower.wake()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FollowedStore]:
    threads = threading.active_count()
    store = FollowedStore(tmp_path / "records.db")
    yield store
    for follower in store.followers:
        follower.stop()
    store.close()
    assert threading.active_count() <= threads, "no thread is left"


def follow(store: FollowedStore, view: DictView, pause_s: float = 0.01) -> Follower:
    follower = Follower(view, store, lambda: None, pause_s)
    follower.start()
    store.followers.append(follower)
    return follower


def put(id: str, text: str = "") -> Put:
    return Put("n", id, {"text": text or id}, {"v": b"1234"})


def fill(store: Store, count: int, start: int = 0) -> int:
    store.write_sync([put(str(i)) for i in range(start, start + count)])
    return store.last_seq()


def stored_fields(store: Store) -> dict[int, dict[str, Any]]:
    with store.snapshot() as snapshot:
        return {each.docno: each.fields for batch in snapshot.batches for each in batch}


def wait_until(reached: Callable[[], object]) -> None:
    end = time.monotonic() + LONG
    while not reached():
        assert time.monotonic() < end, "it never comes to that"
        time.sleep(0.002)


# --- following -------------------------------------------------------------------------------


def test_follower_of_empty_store_is_complete_at_once(store: FollowedStore) -> None:
    follower = follow(store, DictView(Saved()))
    assert follower.is_complete


@pytest.mark.parametrize("visible_on_save", [False, True])
def test_follower_applies_writes(store: FollowedStore, visible_on_save: bool) -> None:
    view = DictView(Saved(), visible_on_save=visible_on_save)
    follower = follow(store, view)
    for start in range(0, 900, 300):
        seq = fill(store, 300, start)
        store.write_sync([Delete("n", str(start)), put(str(start + 1), "changed")])
        assert follower.wait(seq + 3, LONG, visible=True)
        assert view.searched == stored_fields(store)


def test_follower_catches_up_from_saved_position(store: FollowedStore) -> None:
    disk = Saved()
    fill(store, 10)
    first = follow(store, DictView(disk))
    assert first.wait(10, LONG)
    first.stop()
    assert disk.seq == 10
    fill(store, 600, start=10)
    view = DictView(disk)
    follower = follow(store, view)
    assert follower.wait(610, LONG)
    assert view.resets == 0
    assert view.content == stored_fields(store)


def test_progress_is_reported_until_startup_catch_up_ends(
    store: FollowedStore,
) -> None:
    fill(store, 600)
    saved = Saved()
    saved.seq = 0
    view = DictView(saved)
    half, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        if view.batches == 1:
            half.set()
            go_on.wait(LONG)

    view.before_apply = pause
    follower = follow(store, view)
    try:
        assert half.wait(LONG)
        assert follower.is_complete  # the saved state can be searched
        assert 0 < (follower.progress or 0) < 1
        assert not follower.wait_for_startup(0)
        go_on.set()
        assert follower.wait_for_startup(LONG)
        assert follower.progress is None
    finally:
        go_on.set()
        follower.stop()


def test_view_is_saved_after_changes_and_after_time(store: FollowedStore) -> None:
    view = DictView(Saved(), save_after_s=3600)
    view.save_after_changes = 300
    follower = follow(store, view)
    fill(store, 299)
    assert follower.wait(299, LONG)
    assert view.saves == 0
    fill(store, 1, start=299)
    wait_until(lambda: follower.saved_seq == 300)
    patient = DictView(Saved(), save_after_s=0.05)
    other = follow(store, patient)
    wait_until(lambda: other.saved_seq == 300)
    store.write_sync([put("one more")])
    wait_until(lambda: other.saved_seq == 301)


def test_wait_visible_triggers_save(
    store: FollowedStore,
) -> None:
    view = DictView(Saved(), visible_on_save=True, save_after_s=3600)
    follower = follow(store, view)
    fill(store, 1)
    assert follower.wait(1, LONG)
    assert view.searched == {}
    assert follower.wait(1, LONG, visible=True)
    assert view.searched == stored_fields(store)


def test_wait_returns_false_after_timeout(store: FollowedStore) -> None:
    follower = follow(store, DictView(Saved()))
    assert not follower.wait(5, 0.01)


# --- rebuilding ------------------------------------------------------------------------------


@pytest.mark.parametrize("visible_on_save", [False, True])
@pytest.mark.parametrize("why", ["nothing saved", "the log was cut", "from the future"])
def test_view_outside_of_log_is_rebuilt(
    store: FollowedStore, why: str, visible_on_save: bool
) -> None:
    disk = Saved()
    fill(store, 700)
    store.write_sync([ClearNamespace("m"), Delete("n", "3")])
    if why == "the log was cut":
        disk.seq, disk.content = 100, {99999: {"text": "wrong"}}
        store.write_sync([TrimLog(101)])
    elif why == "from the future":
        disk.seq, disk.content = 100_000, {99999: {"text": "wrong"}}
    view = DictView(disk, visible_on_save=visible_on_save)
    follower = follow(store, view)
    assert follower.wait(store.last_seq(), LONG, visible=True)
    assert view.searched == stored_fields(store)
    assert view.resets == 1
    wait_until(lambda: disk.seq == store.last_seq())


def test_view_is_not_complete_before_first_save_is_visible(store: FollowedStore) -> None:
    """The lexical view shows saved changes only, so a rebuild is not complete until then."""
    fill(store, 10)
    view = DictView(Saved(), visible_on_save=True)
    states: list[tuple[bool, int]] = []
    follower = Follower(
        view, store, lambda: states.append((follower.is_complete, follower.visible_seq))
    )
    view.before_save = lambda: states.append((follower.is_complete, len(view.searched)))
    follower.start()
    assert follower.wait(10, LONG, visible=True)
    assert follower.is_complete
    follower.stop()
    assert states == [(False, 0), (False, 10)]


def test_rebuild_includes_concurrent_writes(store: FollowedStore) -> None:
    fill(store, 1200)
    view = DictView(Saved())
    rebuilding, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        rebuilding.set()
        assert go_on.wait(LONG)

    view.before_apply = hold
    follower = follow(store, view)
    assert rebuilding.wait(LONG)
    assert not follower.is_complete
    seq = fill(store, 100, start=1150)
    go_on.set()
    assert follower.wait(seq, LONG)
    assert view.content == stored_fields(store)


def test_stop_during_rebuild_saves_nothing(store: FollowedStore) -> None:
    fill(store, 2000)
    disk = Saved()
    view = DictView(disk)
    follower = Follower(view, store, lambda: None)
    view.before_apply = follower.request_stop
    follower.start()
    follower.stop()
    assert view.batches < 4
    assert disk.seq is None
    again = DictView(disk)
    assert follow(store, again).wait(store.last_seq(), LONG)
    assert again.content == stored_fields(store)


# --- trouble ---------------------------------------------------------------------------------


@pytest.mark.parametrize("visible_on_save", [False, True])
@pytest.mark.parametrize("at", ["apply", "save", "open"])
def test_failed_view_recovers_without_further_writes(
    store: FollowedStore, caplog: pytest.LogCaptureFixture, at: str, visible_on_save: bool
) -> None:
    """No further write wakes the follower."""
    fill(store, 20)
    view = DictView(Saved(), visible_on_save=visible_on_save)
    follower = follow(store, view)
    assert follower.wait(20, LONG, visible=True)
    view.failing[at] = OSError("the disk is on fire")
    if at == "open":
        view.failing["apply"] = ValueError("half of it")
    with caplog.at_level(logging.ERROR):
        fill(store, 5, start=18)
        wait_until(lambda: follower.failure is not None)
    assert len([each for each in caplog.records if each.exc_info]) == 1, "it is told once"
    view.failing.clear()
    wait_until(lambda: follower.failure is None)
    assert follower.wait(store.last_seq(), LONG, visible=True)
    assert view.searched == stored_fields(store)
    wait_until(lambda: follower.saved_seq == store.last_seq())
    assert view.disk.content == stored_fields(store)


def test_wait_returns_at_once_for_failed_view(store: FollowedStore) -> None:
    view = DictView(Saved())
    follower = follow(store, view)
    view.failing["apply"] = OSError("gone")
    fill(store, 1)
    began = time.monotonic()
    assert not follower.wait(1, 3 * LONG)
    assert time.monotonic() - began < LONG


def test_view_that_fails_to_save_stays_searchable(
    store: FollowedStore,
) -> None:
    view = DictView(Saved())
    follower = follow(store, view)
    view.failing["save"] = OSError("no space left")
    fill(store, 300)
    wait_until(lambda: follower.failure is not None)
    for start in range(300, 900, 300):
        seq = fill(store, 300, start)
        assert follower.wait(seq, LONG)
        assert follower.is_complete
        assert view.searched == stored_fields(store)
    assert view.resets <= 1, "it was not made anew"
    view.failing.clear()
    wait_until(lambda: follower.failure is None)
    wait_until(lambda: view.disk.seq == store.last_seq())


@pytest.mark.parametrize(
    ("at", "visible_on_save"), [("apply", True), ("save", True), ("apply", False)]
)
def test_failed_view_is_searchable_while_reopened_if_searches_see_saved_state(
    store: FollowedStore, at: str, visible_on_save: bool
) -> None:
    fill(store, 20)
    view = DictView(Saved(), visible_on_save=visible_on_save)
    follower = follow(store, view)
    wait_until(lambda: follower.saved_seq == 20)
    saved = dict(view.searched)
    searchable: list[dict[int, dict[str, Any]] | None] = []
    reopened = threading.Event()

    def look() -> None:
        searchable.append(view.searched if follower.is_complete else None)
        view.failing.clear()
        reopened.set()

    view.before_open = look
    view.failing[at] = OSError("no space left")
    seq = fill(store, 5, start=20)
    assert reopened.wait(LONG)
    assert searchable == [saved if visible_on_save else None]
    wait_until(lambda: follower.wait(seq, LONG, visible=True))
    assert view.searched == stored_fields(store)


def test_writes_do_not_shorten_retry_pause(store: FollowedStore) -> None:
    view = DictView(Saved())
    follower = follow(store, view, pause_s=LONG)
    view.failing["apply"] = OSError("gone")
    fill(store, 1)
    wait_until(lambda: follower.failure is not None)
    tries = view.tries
    for i in range(50):
        store.write_sync([put(f"more {i}")])
    assert view.tries == tries


def test_stop_after_failure_saves_no_partial_state(store: FollowedStore) -> None:
    """The saved state is lost and there is no time for a rebuild."""
    disk = Saved()
    view = DictView(disk, save_after_s=3600)
    follower = Follower(view, store, lambda: None)
    follower.start()
    fill(store, 50)
    follower.wake()
    assert follower.wait(50, LONG)
    view.failing["apply"] = ValueError("half of it")
    fill(store, 5, start=50)
    follower.wake()
    wait_until(lambda: follower.failure is not None)
    view.failing.clear()
    disk.seq, disk.content = None, {}
    follower.stop()
    assert disk.seq is None or disk.content == stored_fields(store)
    again = DictView(disk)
    assert follow(store, again).wait(store.last_seq(), LONG)
    assert again.content == stored_fields(store)


@pytest.mark.parametrize("at", ["apply", "save", "close", "open"])
def test_stop_succeeds_despite_error(store: FollowedStore, at: str) -> None:
    disk = Saved()
    view = DictView(disk, save_after_s=3600)
    follower = Follower(view, store, lambda: None)
    follower.start()
    fill(store, 5)
    view.failing[at] = OSError("gone")
    follower.stop()
    view = DictView(disk)
    assert follow(store, view).wait(5, LONG)
    assert view.content == stored_fields(store)


def test_start_closes_view_that_fails_to_open(
    store: FollowedStore,
) -> None:
    view = DictView(Saved())
    view.failing["open"] = OSError("not allowed")
    follower = Follower(view, store, lambda: None)
    with pytest.raises(OSError, match="not allowed"):
        follower.start()
    assert view.closed == 1


def test_start_on_full_disk_retries_until_there_is_space(store: FollowedStore) -> None:
    """The pause before the retry is longer than the test waits."""
    fill(store, 5)
    view = DictView(Saved())
    view.failing["open"] = OSError(errno.ENOSPC, "No space left on device")
    space = threading.Event()
    follower = Follower(view, store, lambda: None, LONG * 10, has_space=space.is_set)
    follower.start()
    store.followers.append(follower)
    assert not follower.wait_for_startup(LONG)
    assert not follower.wait(5, LONG, visible=True)
    assert follower.reason == "there is no space left on the disk"
    view.failing.clear()
    space.set()
    wait_until(lambda: follower.wait(5, LONG, visible=True))
    assert view.searched == stored_fields(store)
