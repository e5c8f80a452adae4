"""Retries: which calls, how often, and after which delay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.client import (
    ApiError,
    ConnectionFailed,
    DeadlineExceeded,
    GarbledAnswer,
    NotConnected,
    Overloaded,
    SearchClientError,
    TimedOut,
    Unavailable,
)
from service.client.retries import RetryState
from tests.client.conftest import Make
from tests.client.fake_service import Reply, answer, scripted_server, unused_url

ALIVE = answer(200, {"status": "ok"})
FOUND = answer(
    200,
    {"results": [], "degraded": False, "cursor": None}
    | {"receipt": {"ms": 1, "missing": [], "stages": []}},
)
WRITTEN = answer(200, {"written": 1, "failed": []})
DELETED = answer(200, {"deleted": None})
BUSY = answer(503, {"detail": "Busy", "code": "overloaded"}, retry_after="0")
RESET = Reply(b"", "reset")
SAFE: list[tuple[Callable[[Any], Any], Reply]] = [
    (lambda client: client.healthz(), ALIVE),
    (lambda client: client.cascading("x"), FOUND),
    (lambda client: client.upsert([{"_id": "a"}]), WRITTEN),
    (lambda client: client.delete(ids=["a"]), DELETED),
]


@pytest.mark.parametrize(("call", "good"), SAFE)
@pytest.mark.parametrize(
    "bad",
    [
        RESET,
        Reply(b"", "close"),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", "close"),
        Reply(b"nonsense\r\n\r\n", "close"),
        BUSY,
        answer(429, {"detail": "Slower", "code": "x"}, retry_after="0"),
        answer(502, b"<html>"),
    ],
    ids=["reset", "closed", "cut", "nonsense", "busy", "limited", "proxy"],
)
def test_retries_idempotent_calls(
    make: Make, call: Callable[[Any], Any], good: Reply, bad: Reply
) -> None:
    with scripted_server(bad, good) as server:
        call(make(server.url))
        assert len(server.requests) == 2
        assert len({(each.target, each.body) for each in server.requests}) == 1


@pytest.mark.parametrize(
    "how", [{"filter": {"a": 1}}, {"all": True}], ids=["by filter", "everything"]
)
def test_retries_skip_deletion_by_filter_and_all(make: Make, how: dict[str, Any]) -> None:
    with scripted_server(RESET) as server:
        with pytest.raises(ConnectionFailed):
            make(server.url).delete(**how)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (answer(504, {"detail": "Late", "code": "deadline_exceeded"}), DeadlineExceeded),
        (answer(502, {"detail": "Bad", "code": "upstream_error"}), Unavailable),
        (answer(500, {"detail": "Bug", "code": "internal_error"}), ApiError),
        (answer(200, b"nonsense"), GarbledAnswer),
    ],
)
def test_retries_skip_final_errors(make: Make, bad: Reply, kind: type[SearchClientError]) -> None:
    with scripted_server(bad) as server:
        with pytest.raises(kind):
            make(server.url).cascading("x")
        assert len(server.requests) == 1


def test_retries_end_at_the_limit(make: Make) -> None:
    with scripted_server(*[BUSY] * 4) as server:
        with pytest.raises(Overloaded, match="Busy"):
            make(server.url).healthz()
        assert len(server.requests) == 3
        with pytest.raises(Overloaded):
            make(server.url, retries=0).healthz()
        assert len(server.requests) == 4


def test_refused_connection_raises_not_connected(make: Make) -> None:
    url = unused_url()
    with pytest.raises(NotConnected, match=f"Nothing answers at {url}"):
        make(url).healthz()


def test_retry_wait_beyond_deadline_is_not_started(make: Make) -> None:
    patient = answer(503, {"detail": "Busy", "code": "overloaded"}, retry_after="60")
    with scripted_server(patient) as server:
        with pytest.raises(Overloaded) as caught:
            make(server.url).healthz()
        assert caught.value.retry_after == 60
        assert len(server.requests) == 1


def test_unresponsive_service_times_out(make: Make) -> None:
    with scripted_server(Reply(b"", "hold")) as server:
        with pytest.raises(TimedOut):
            make(server.url, timeout=0.2).healthz()


def test_trickling_response_times_out(make: Make) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n "
    with scripted_server(Reply(head, "hold")) as server:
        with pytest.raises(TimedOut):
            make(server.url, timeout=0.2).healthz()


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def tries(clock: Clock, retries: int = 9, **options: Any) -> RetryState:
    given: dict[str, Any] = {"is_idempotent": True, "random_fraction": lambda: 1.0} | options
    return RetryState(retries, 30.0, clock=clock, **given)


def test_retry_delays_grow_with_jitter_up_to_the_maximum() -> None:
    broken = ConnectionFailed("x")
    of = tries(Clock())
    assert [of.delay_after(broken) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    shorter = tries(Clock(), random_fraction=lambda: 0.0)
    assert [shorter.delay_after(broken) for _ in range(3)] == [0.05, 0.1, 0.2]


def test_retry_delay_honors_retry_after() -> None:
    assert tries(Clock()).delay_after(Overloaded("x", status=503, retry_after=4)) >= 4


def test_retries_share_one_deadline() -> None:
    clock = Clock()
    of = tries(clock)
    assert of.remaining_s() == 30
    clock.now += 29.95
    with pytest.raises(ConnectionFailed):
        of.delay_after(ConnectionFailed("x"))
    clock.now += 1
    with pytest.raises(TimedOut):
        of.remaining_s()


def test_retries_of_non_idempotent_call_only_if_not_connected() -> None:
    careful = tries(Clock(), is_idempotent=False)
    assert careful.delay_after(NotConnected("x")) > 0
    with pytest.raises(ConnectionFailed):
        careful.delay_after(ConnectionFailed("x"))
    with pytest.raises(Unavailable):
        careful.delay_after(Unavailable("x", status=503))
