"""Import watches: reconnection after broken connections and service restarts."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from service.client import (
    ApiError,
    ConnectionFailed,
    ImportFailed,
    Job,
    NotConnected,
    SearchClientError,
    TimedOut,
    Unauthorized,
    Unavailable,
)
from service.client.import_watch import ImportWatch
from service.client.responses import job
from service.client.sse import ServerSentEvent
from tests.client.conftest import Make
from tests.client.fake_service import Reply, answer, chunked, event, scripted_server, unused_url
from tests.client.test_imports import records
from tests.client.test_retries import Clock
from tests.e2e.process import Process

RUNNING = {"id": "a1", "status": "running", "written": 3, "failed": 0, "errors": []}
DONE = RUNNING | {"status": "succeeded", "written": 9, "revision": 9}


def progress_event(revision: int) -> bytes:
    return event("progress", RUNNING | {"revision": revision, "written": revision}, revision)


END = event("progress", DONE, 9) + event("done", DONE, 9)


@pytest.mark.parametrize(
    "cut",
    [
        chunked(progress_event(3), b"id: 4\nevent: prog", end=False, after="close"),
        chunked(progress_event(3), end=False, after="reset"),
        chunked(progress_event(3), b"retry: 1000\n\n"),
        chunked(progress_event(3), event("error", {"detail": "x", "code": "unavailable"})),
    ],
    ids=["cut", "reset", "ended", "error"],
)
def test_import_watch_resumes_after_last_event_id(make: Make, cut: Reply) -> None:
    busy = answer(503, {"detail": "Busy", "code": "overloaded"}, retry_after="0")
    with scripted_server(
        cut, busy, Reply(b"", "close"), chunked(b": beat\n\n", progress_event(4), END)
    ) as server:
        moments = list(make(server.url, retries=0).watch_import("a1"))
    assert [each.written for each in moments] == [3, 4, 9]
    assert [each.headers.get("last-event-id") for each in server.requests] == [None, "3", "3", "3"]
    assert {each.target for each in server.requests} == {"/api/imports/a1/events"}


def test_import_watch_ends_at_final_error(make: Make) -> None:
    refusal = answer(401, {"detail": "No key", "code": "key_missing"})
    gone = event("error", {"detail": "Gone", "code": "not_found"})
    with scripted_server(
        chunked(progress_event(3)), refusal, chunked(progress_event(3), gone)
    ) as server:
        with pytest.raises(Unauthorized):
            list(make(server.url).watch_import("a1"))
        with pytest.raises(ApiError, match="Gone"):
            list(make(server.url).watch_import("a1"))
        assert len(server.requests) == 3


def test_import_watch_patience_ends(make: Make) -> None:
    with pytest.raises(NotConnected):
        list(make(unused_url(), retries=0).watch_import("a1", patience=0.3))


def test_import_watch_raises_for_failed_import(make: Make) -> None:
    failed = DONE | {"status": "failed", "detail": "The disk is full"}
    with scripted_server(chunked(event("progress", failed, 9))) as server:
        with pytest.raises(ImportFailed, match=r"failed \(The disk is full\)") as caught:
            make(server.url).wait_for_import("a1")
    assert caught.value.job.written == 9


def test_import_watch_patience_restarts_with_each_event() -> None:
    clock = Clock()
    watching = ImportWatch("a1", 10.0, clock=clock, random_fraction=lambda: 1.0)
    broken = ConnectionFailed("x")
    clock.now += 9
    assert watching.delay_after(broken) == pytest.approx(0.1)
    received = ServerSentEvent(
        "progress", progress_event(1).decode().split("data: ")[1].strip(), "1"
    )
    assert isinstance(watching.receive(received, watching.connect()), Job)
    clock.now += 9
    pauses = [watching.delay_after(broken) for _ in range(3)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4])
    clock.now += 1
    with pytest.raises(ConnectionFailed):
        watching.delay_after(broken)


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (NotConnected("x"), True),
        (TimedOut("x"), True),
        (Unavailable("x", status=502), True),
        (ApiError("x", status=404), False),
        (Unauthorized("x", status=401), False),
    ],
)
def test_import_watch_retries_transient_errors_only(
    error: SearchClientError, passing: bool
) -> None:
    watching = ImportWatch("a1")
    if passing:
        assert watching.delay_after(error) < 1
    else:
        with pytest.raises(type(error)):
            watching.delay_after(error)


def test_import_watch_skips_repeated_events() -> None:
    watching = ImportWatch("a1")
    data = progress_event(1).decode().split("data: ")[1].strip()
    call = watching.connect()
    assert watching.receive(ServerSentEvent("progress", data, "1"), call) == job(
        RUNNING | {"revision": 1, "written": 1}
    )
    assert watching.receive(ServerSentEvent("progress", data, "1"), call) is None
    assert watching.receive(ServerSentEvent("mood", "", "1"), call) is None
    assert watching.connect().headers["Last-Event-ID"] == "1"


def test_import_watch_survives_service_restart(make: Make, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"DATA_DIR": str(tmp_path), "LOAD_SAMPLES": "false", "PORT": str(port)}
    first = Process(environment)
    second = None
    try:
        client = make(first.wait_until_serving())
        started = client.import_file(records(3_000))
        moments: list[Any] = []
        with client.watch_import(started.id) as watch:
            for each in watch:
                moments.append(each)
                if second is None and each.written:
                    first.signal_group(signal.SIGTERM)
                    assert first.wait() == 0
                    second = Process(environment)
        assert second is not None
        assert (moments[-1].status, moments[-1].written) == ("succeeded", 3_000)
        revisions = [each.revision for each in moments]
        assert revisions == sorted(set(revisions))
        assert len(client.list_ids(limit=10).ids) == 10
    finally:
        first.stop()
        if second is not None:
            second.stop()
