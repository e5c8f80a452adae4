"""Every request is recorded once, however it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.registry import Collector
from werkzeug.routing import Map, Rule

from service.web.asgi import Message, Receive, Scope, Send
from service.web.metrics.metrics import Metrics
from service.web.metrics.middleware import RequestMetrics
from service.web.metrics.route_labels import RouteLabels
from tests.web.metrics.samples import Samples

COUNT = "cascade_http_request_duration_seconds_count"


class Measured:
    """An app behind the middleware."""

    def __init__(self, app: Any) -> None:
        self._metrics = Metrics()
        url_map = Map([Rule("/search", endpoint="search"), Rule("/ws", endpoint="ws")])
        self.requests = RequestMetrics(self._metrics, RouteLabels(url_map))
        self.app = self.requests.measure(app)
        self.sent: list[Message] = []

    async def call(self, type: str = "http", path: str = "/search", method: str = "GET") -> None:
        scope = {"type": type, "path": path, "method": method}
        if type != "http":
            del scope["method"]

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            self.sent.append(message)

        await self.app(scope, receive, send)

    @property
    def labels(self) -> list[dict[str, str]]:
        metrics = self._metrics

        class Collected(Collector):
            def collect(self) -> Any:
                return metrics.families()

        samples = Samples(generate_latest(Collected()).decode())
        assert samples.sum(COUNT) == len(samples.labels(COUNT))  # each of them once
        return samples.labels(COUNT)


async def respond(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("path", "method", "labels"),
    [
        ("/search", "POST", ("/search", "POST")),
        ("/search", "BREW", ("/search", "other")),
        ("/search", "get", ("/search", "other")),
        ("/elsewhere", "GET", ("unmatched", "GET")),
    ],
)
async def test_request_has_labels_from_fixed_sets(
    path: str, method: str, labels: tuple[str, str]
) -> None:
    measured = Measured(respond)
    await measured.call(path=path, method=method)
    assert measured.labels == [{"route": labels[0], "method": labels[1], "status": "200"}]
    assert [each["type"] for each in measured.sent] == [
        "http.response.start",
        "http.response.body",
    ]


async def test_request_without_response_has_status_499() -> None:
    async def disconnect(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    measured = Measured(disconnect)
    await measured.call()
    assert [each["status"] for each in measured.labels] == ["499"]


async def test_cancelled_request_has_status_499() -> None:
    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    measured = Measured(hang)
    task = asyncio.create_task(measured.call())
    await asyncio.sleep(0)
    assert measured.requests.in_progress["/search"] == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each["status"] for each in measured.labels] == ["499"]
    assert measured.requests.in_progress["/search"] == 0


async def test_failed_app_has_status_500() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    measured = Measured(fail)
    with pytest.raises(ZeroDivisionError):
        await measured.call()
    assert [each["status"] for each in measured.labels] == ["500"]


async def test_failure_after_start_of_response_keeps_its_status() -> None:
    async def fail_late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    measured = Measured(fail_late)
    with pytest.raises(ZeroDivisionError):
        await measured.call()
    assert [each["status"] for each in measured.labels] == ["200"]


@pytest.mark.parametrize(
    ("first", "status"),
    [
        ({"type": "websocket.accept"}, "101"),
        ({"type": "websocket.http.response.start", "status": 401}, "401"),
        ({"type": "websocket.close", "code": 1000}, "403"),
    ],
)
async def test_websocket_has_status_of_its_handshake(first: Message, status: str) -> None:
    async def handshake(scope: Scope, receive: Receive, send: Send) -> None:
        await send(first)
        await send({"type": "websocket.close"})

    measured = Measured(handshake)
    await measured.call("websocket", "/ws")
    assert measured.labels == [{"route": "/ws", "method": "GET", "status": status}]


async def test_lifespan_is_not_a_request() -> None:
    async def start(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.complete"})

    measured = Measured(start)
    await measured.call("lifespan")
    assert measured.labels == []
