"""Tests for WebSocket connections: origins, keys, limits and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart, websocket
from quart.testing.connections import WebsocketResponseError

from service.access.pending_hellos import PendingHellos
from service.access.policy import AccessPolicy
from service.app import create_app
from service.indexes.pinecone import open_lane
from service.lifecycle import Lifecycle
from service.web import authentication, errors, request_context
from service.web.search.as_you_type import PATH
from service.web.websocket_connection import WebSocketRegistry
from tests.conftest import MakeSettings
from tests.upstream import Hang, Upstream
from tests.web.search.test_as_you_type import DENSE, connect, open_app
from tests.web.test_authentication import KEY, OTHER, receive_close_code
from tests.web.websocket_client import WebsocketDisconnectError

HELLO = json.dumps({"type": "hello", "key": KEY})


async def rejected_handshake(app: Quart, path: str = PATH, **headers: str) -> tuple[int, Any]:
    """Connect, and return the status and body of the rejection."""
    client = app.test_client()
    extensions: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}
    with pytest.raises(WebsocketResponseError) as raised:
        async with client.websocket(path, headers=headers, scope_base=extensions) as connection:
            await connection.receive()
    response = raised.value.response
    body = json.loads(await response.get_data())
    assert response.headers["X-Request-Id"] == body["request_id"]
    assert response.headers["Cache-Control"] == "no-store"
    assert ("Retry-After" in response.headers) == (response.status_code == 503)
    return response.status_code, body


@pytest.mark.parametrize(
    ("settings", "headers", "refused"),
    [
        ({}, {}, False),
        ({}, {"Host": "127.0.0.1:8000"}, False),
        ({}, {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}, False),
        ({}, {"Host": "127.0.0.1:8000", "Origin": "https://127.0.0.1:8000"}, True),
        ({}, {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:9000"}, True),
        ({}, {"Origin": "https://evil.example"}, True),
        ({}, {"Origin": "null"}, True),
        ({}, {"Origin": ""}, True),
        ({}, {"Host": "rebound.example"}, True),
        ({}, {"Host": "rebound.example", "Origin": "http://rebound.example"}, True),
        ({"host": "0.0.0.0"}, {"Host": "s.example", "Origin": "http://s.example"}, False),
        ({"host": "0.0.0.0"}, {"Host": "s.example", "Origin": "http://evil.example"}, True),
        ({"allowed_origins": "https://shop.example"}, {"Origin": "https://shop.example"}, False),
        ({"allowed_origins": "https://shop.example"}, {"Origin": "https://evil.example"}, True),
        ({"allowed_origins": "*"}, {"Origin": "https://shop.example"}, True),
        ({"allowed_origins": "*", "host": "0.0.0.0"}, {"Origin": "https://shop.example"}, False),
        ({"service_api_keys": KEY}, {"Api-Key": KEY, "Origin": "https://evil.example"}, True),
        (
            {"service_api_keys": KEY, "allowed_origins": "*"},
            {"Api-Key": KEY, "Origin": "https://shop.example"},
            False,
        ),
        ({"service_api_keys": KEY}, {"Api-Key": KEY, "Host": "s.example"}, False),
    ],
)
async def test_websocket_origin_check(
    make_settings: MakeSettings, settings: dict[str, Any], headers: dict[str, str], refused: bool
) -> None:
    async with open_app(make_settings(**settings)) as app:
        if refused:
            status, body = await rejected_handshake(app, **headers)
            assert (status, body["code"]) == (403, "origin_refused")
        else:
            async with connect(app, headers=headers) as search_socket:
                await search_socket.ping()


@pytest.mark.parametrize("path", ["/api/nowhere", "/healthz", "/api/records"])
async def test_websocket_and_http_routes_reject_each_other(
    make_settings: MakeSettings, path: str
) -> None:
    async with open_app(make_settings(service_api_keys=KEY)) as app:
        status, body = await rejected_handshake(app, path)
        assert status in {404, 400, 405}
        assert body.keys() == {"detail", "code", "request_id"}
        response = await app.test_client().get(PATH, headers={"Api-Key": KEY})
        assert response.status_code == 400
        detail = (await response.get_json())["detail"]
        assert detail == "This endpoint accepts WebSocket connections only"


@pytest.mark.parametrize(
    "headers", [{"Api-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"Api-Key": OTHER}]
)
async def test_websocket_key_in_header_or_hello_is_accepted(
    make_settings: MakeSettings, headers: dict[str, str]
) -> None:
    async with open_app(make_settings(service_api_keys=f"{KEY},{OTHER}")) as app:
        async with connect(app, headers=headers) as search_socket:
            await search_socket.send(HELLO)  # ignored
            await search_socket.ping()
        async with connect(app) as search_socket:
            await search_socket.send(HELLO)
            await search_socket.search(1, "cat", "semantic")
            assert (await search_socket.receive_all())[-1]["stage"] == "done"


@pytest.mark.parametrize(
    "first",
    [
        json.dumps({"type": "hello", "key": "not-the-key-not-the-key"}),
        json.dumps({"type": "hello", "key": 7}),
        json.dumps({"type": "hello"}),
        json.dumps({"type": "search", "key": KEY, "seq": 1}),
        json.dumps([KEY]),
        b"\xff",
        "{",
    ],
)
async def test_websocket_without_valid_key_closes_with_1008(
    make_settings: MakeSettings,
    upstream: Upstream,
    first: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with open_app(make_settings(service_api_keys=KEY)) as app:
            assert await receive_close_code(app, PATH, first) == 1008
            assert (
                await receive_close_code(app, PATH, None, **{"Api-Key": "not-the-key-not-the-key"})
                == 1008
            )
            assert await receive_close_code(app, f"{PATH}?key={KEY}", "{}") == 1008
    assert upstream.searches() == []
    assert "not-the-key" not in caplog.text


async def test_websocket_does_not_share_answers_between_tenants(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(service_api_keys=f"{KEY},{OTHER}", cache_ttl=60, typing_pause_ms=0)
    caches = []
    async with open_app(settings) as app:
        for key in (KEY, OTHER, KEY):
            async with connect(app, headers={"Api-Key": key}) as search_socket:
                await search_socket.search(1, "cat", "semantic")
                caches.append((await search_socket.receive_all())[-1]["receipt"]["cache"])
    assert caches == ["miss", "miss", "hit"]


def echo_app(
    sockets: WebSocketRegistry, policy: AccessPolicy, hellos: PendingHellos | None = None
) -> Quart:
    """An app with one WebSocket route, which echoes messages."""
    app = Quart("service", static_folder=None)
    sockets.install(app)
    request_context.install(app, sockets.lifecycle)
    errors.install(app)
    authentication.install(app, policy, hellos or PendingHellos())

    @app.websocket("/echo")
    @authentication.requires("search")
    async def echo() -> None:
        while (message := await websocket.receive()) != "end":
            await websocket.send(message)
            if message == "fail":
                raise ZeroDivisionError

    return app


NO_KEYS = AccessPolicy((), "0.0.0.0", 0)


def keyed_echo_app(hellos: PendingHellos) -> Quart:
    return echo_app(WebSocketRegistry(Lifecycle()), AccessPolicy((KEY,), "0.0.0.0", 0), hellos)


@contextlib.asynccontextmanager
async def connected(app: Quart, key: str = "", **options: Any) -> AsyncIterator[Any]:
    """A connection to /echo whose handshake is accepted."""
    headers = {"Api-Key": key} if key else None
    async with app.test_client().websocket("/echo", headers=headers, **options) as connection:
        while not connection.accepted:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        yield connection


async def echo(connection: Any) -> Any:
    await connection.send("x")
    return await connection.receive()


async def test_websocket_hello_timeout() -> None:
    app = keyed_echo_app(PendingHellos(timeout_s=0.01))
    assert await receive_close_code(app, "/echo", None) == 1008


async def test_websocket_without_key_over_limit_of_client_is_rejected() -> None:
    """A key in a header or in a hello makes room for another one; so does the end of one."""
    app = keyed_echo_app(PendingHellos(max_per_caller=2))
    async with connected(app) as greeting, connected(app):
        status, body = await rejected_handshake(app, "/echo")
        assert (status, body["code"]) == (503, "overloaded")
        async with connected(app, key=KEY) as keyed:
            assert await echo(keyed) == "x"
        other_client = {"client": ("198.51.100.7", 80)}
        async with connected(app, scope_base=other_client) as other:
            await other.send(HELLO)
            assert await echo(other) == "x"
        await greeting.send(HELLO)
        assert await echo(greeting) == "x"
        async with connected(app):
            assert (await rejected_handshake(app, "/echo"))[0] == 503
    async with connected(app), connected(app):
        pass


async def test_websocket_that_has_waited_longest_for_its_key_is_ended_over_total_limit() -> None:
    app = keyed_echo_app(PendingHellos(max_total=2))
    async with connected(app) as first, connected(app) as second, connected(app) as third:
        with pytest.raises(WebsocketDisconnectError, match="1008"):
            await first.receive()
        for connection in (second, third):
            await connection.send(HELLO)
            assert await echo(connection) == "x"


async def test_websocket_over_limit_is_rejected() -> None:
    app = echo_app(WebSocketRegistry(Lifecycle(), max_connections=2), NO_KEYS)
    client = app.test_client()
    async with client.websocket("/echo") as first, client.websocket("/echo") as second:
        for connection in (first, second):
            assert await echo(connection) == "x"
        status, body = await rejected_handshake(app, "/echo")
        assert (status, body["code"]) == (503, "overloaded")
    async with client.websocket("/echo") as third:
        await third.send("x")
        assert await third.receive() == "x"


async def test_websocket_handler_failure_closes_with_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = echo_app(WebSocketRegistry(Lifecycle()), NO_KEYS)
    assert await receive_close_code(app, "/echo", "end") == 1000
    async with app.test_client().websocket("/echo") as connection:
        await connection.send("fail")
        assert await connection.receive() == "fail"
        with pytest.raises(WebsocketDisconnectError) as raised:
            await connection.receive()
    assert raised.value.args[0] == 1011
    failures = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.name for record in failures] == ["service.web.errors"]


async def test_unexpected_search_exception_closes_with_1011(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    def open_broken(host: str, api_key: str, connections: int) -> Any:
        index = open_lane(host, api_key, connections)

        async def search(*_: Any, **__: Any) -> None:
            raise ZeroDivisionError("a bug of ours")

        index.search = search  # type: ignore[method-assign, assignment]
        return index

    app = create_app(make_settings(typing_pause_ms=0), open_lane=open_broken)
    async with app.test_app(), connect(app) as search_socket:
        await search_socket.search(1, "cat", "semantic")
        with pytest.raises(WebsocketDisconnectError) as raised:
            await search_socket.receive()
        assert raised.value.args[0] == 1011
    failures = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(failures) == 1
    assert "a bug of ours" in caplog.text


async def test_app_shutdown_closes_websockets_with_1001(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    """No server does this for an app that is mounted in another one."""
    app = create_app(make_settings(typing_pause_ms=0))
    async with app.test_app():
        idle, searching = connect(app), connect(app)
        search_sockets = [await idle.__aenter__(), await searching.__aenter__()]
        await search_sockets[0].ping()
        upstream.behave(Hang(), DENSE)
        await search_sockets[1].search(1, "cat", "semantic")
        await upstream.until(lambda: len(upstream.searches()) == 1)
    for search_socket, context in zip(search_sockets, (idle, searching), strict=True):
        with pytest.raises(WebsocketDisconnectError) as raised:
            await search_socket.receive()
        assert raised.value.args[0] == 1001
        await context.__aexit__(None, None, None)
    await upstream.until(lambda: upstream.searches()[0].abandoned)


async def test_draining_app_rejects_websockets() -> None:
    lifecycle = Lifecycle()
    app = echo_app(WebSocketRegistry(lifecycle), NO_KEYS)
    lifecycle.drain()
    status, body = await rejected_handshake(app, "/echo")
    assert (status, body["code"]) == (503, "unavailable")
    assert "stopping" in body["detail"]


async def test_unread_messages_are_bounded() -> None:
    """Most messages stay with the client while the handler is busy."""
    app = echo_app(WebSocketRegistry(Lifecycle()), NO_KEYS)
    busy, started = asyncio.Event(), asyncio.Event()

    @app.websocket("/busy")
    @authentication.requires("search")
    async def view() -> None:
        await websocket.receive()
        started.set()
        await busy.wait()

    async with app.test_client().websocket("/busy") as connection:
        for _ in range(100):
            await connection.send("x")
        await started.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        received = 100 - connection._send_queue.qsize()  # type: ignore[attr-defined]
        assert received < 15
        busy.set()


async def test_access_log_has_one_line_per_websocket(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "service.access"):
        async with open_app(make_settings(typing_pause_ms=0)) as app:
            async with connect(app, headers={"X-Request-Id": "mine"}) as search_socket:
                for seq in range(3):
                    await search_socket.search(seq, "cat", "semantic")
                    await search_socket.receive_all()
            await rejected_handshake(app, Origin="https://evil.example")
    lines = [record.getMessage() for record in caplog.records if record.name == "service.access"]
    assert lines == [f"GET {PATH} 101", f"GET {PATH} 403 origin_refused"]


async def test_websocket_in_mounted_app(make_settings: MakeSettings) -> None:
    async with open_app(make_settings()) as app:
        scope = {"path": f"/search{PATH}", "root_path": "/search"}
        async with connect(app, scope_base=scope) as search_socket:
            await search_socket.ping()
