"""WebSockets over real connections: handshakes, limits, lost clients and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from wsproto import ConnectionType
from wsproto.connection import Connection as WebSocketCodec
from wsproto.events import CloseConnection, Ping, TextMessage

from service.server.slow_clients import SlowClientPolicy
from service.web.search.as_you_type import PATH
from tests.conftest import MakeSettings
from tests.e2e.in_process import serving_in_process
from tests.e2e.process import serving
from tests.server_events import parse_events
from tests.upstream import Hang, Upstream
from tests.websocket_client import SearchSocket

DENSE = "dense/records/namespaces/__default__/search"
HANDSHAKE = (
    b"GET " + PATH.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with Upstream() as upstream, serving(upstream, TYPING_PAUSE_MS=0) as (_, address):
        yield address


@contextlib.asynccontextmanager
async def connect(address: str, **options: Any) -> AsyncIterator[ClientConnection]:
    url = address.replace("http", "ws", 1) + PATH
    async with websockets.connect(url, ping_interval=None, **options) as websocket:
        yield websocket


async def wait_for_close(websocket: ClientConnection) -> tuple[int, str]:
    """Return the code and the reason with which the service closes."""
    async for _ in messages_until_closed(websocket):
        pass
    assert websocket.close_code is not None
    return websocket.close_code, websocket.close_reason or ""


async def messages_until_closed(websocket: ClientConnection) -> AsyncIterator[Any]:
    """Yield every message until the connection is closed, for any reason."""
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            yield await websocket.recv()


async def connect_raw(
    address: str, request: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = urlsplit(address)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(request)
    return reader, writer


async def exchange(address: str, request: bytes) -> bytes:
    """Send bytes, and return everything received until the service closes the connection."""
    reader, writer = await connect_raw(address, request)
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


async def test_websocket_search_equals_json_response(address: str) -> None:
    async with connect(address) as websocket:
        assert websocket.response is not None
        assert websocket.response.headers["X-Request-Id"]
        assert "Sec-WebSocket-Extensions" not in websocket.response.headers
        search_socket = SearchSocket(websocket)
        await search_socket.search(1, "the road before the winter", top_k=3)
        messages = await search_socket.receive_all()
        parameters = {"text_query": "the road before the winter", "top_k": 3}
        async with httpx.AsyncClient(base_url=address) as client:
            answer = (await client.post("/api/cascading-retrieval", json=parameters)).json()
        assert [each["stage"] for each in messages[2:]] == ["fused", "reranked", "done"]
        assert messages[-1]["results"] == answer["results"]
        await websocket.close()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZR=="),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZSB0aGF0IGlzIGxvbmc="),
        (b"Version: 13", b"Version: 12"),
        (b"Sec-WebSocket-Version: 13\r\n", b""),
    ],
)
async def test_invalid_handshake_is_400_and_closes_connection(
    address: str, old: bytes, new: bytes
) -> None:
    head, _, body = (await exchange(address, HANDSHAKE.replace(old, new))).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    error = json.loads(body)
    assert error.keys() == {"detail", "code", "request_id"}
    assert "handshake" in error["detail"]


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"GET", b"POST", b"405"),
        (b"HTTP/1.1", b"HTTP/1.0", b"400"),
        (b"Upgrade: websocket", b"Upgrade: websocket, foo", b"400"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nUpgrade: h2c", b"400"),
        (b"Upgrade: websocket", b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", b"400"),
        (b"Connection: Upgrade", b"Connection: close", b"400"),
        (b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n{}", b"400"),
        (PATH.encode(), b"/api/nowhere", b"404"),
        (b"Host: 127.0.0.1", b"Host: 127.0.0.1\r\nOrigin: https://evil.example", b"403"),
    ],
)
async def test_rejected_handshake_gets_http_error(
    address: str, old: bytes, new: bytes, status: bytes
) -> None:
    request = HANDSHAKE.replace(old, new, 1)
    if b"Connection: Upgrade" in request and status != b"404":
        request = request.replace(b"Connection: Upgrade", b"Connection: Upgrade, close")
    head, _, body = (await exchange(address, request)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status), head
    assert json.loads(body)["request_id"].encode() in head


async def test_frame_before_handshake_ends_is_400(address: str) -> None:
    frame = WebSocketCodec(ConnectionType.CLIENT).send(TextMessage('{"type": "ping"}'))
    head = await exchange(address, HANDSHAKE + frame)
    assert head.startswith(b"HTTP/1.1 400 ")


async def test_oversized_message_closes_with_1009(address: str) -> None:
    async with connect(address) as websocket:
        await websocket.send("x" * 65_536)
        assert json.loads(await websocket.recv())["code"] == "bad_request"
        await websocket.send("x" * 2_000_000)
        assert await wait_for_close(websocket) == (1009, "at most 65536 characters")
    async with connect(address) as websocket:
        await websocket.send(["x" * 40_000] * 4)  # as a fragmented message
        assert (await wait_for_close(websocket))[0] == 1009


async def test_binary_message_closes_with_1003(address: str) -> None:
    async with connect(address) as websocket:
        await websocket.send(b"{}")
        assert await wait_for_close(websocket) == (1003, "only text messages are supported")


MASK = b"\0\0\0\0"
INVALID_FRAMES = {
    "invalid UTF-8": (b"\x81\x82" + MASK + b"\xff\xff", 1007),
    "UTF-8 that is cut": (b"\x81\x82" + MASK + b"\xe2\x82", 1007),
    "surrogate": (b"\x81\x83" + MASK + b"\xed\xa0\x80", 1007),
    "reserved bits": (b"\xf1\x80" + MASK, 1002),
    "compressed": (b"\xc1\x80" + MASK, 1002),
    "unknown opcode": (b"\x83\x80" + MASK, 1002),
    "unknown control opcode": (b"\x8b\x80" + MASK, 1002),
    "unmasked": (b"\x81\x02{}", 1002),
    "continuation of nothing": (b"\x80\x80" + MASK, 1002),
    "message within a message": ((b"\x01\x80" + MASK) * 2, 1002),
    "long ping": (b"\x89\xfe\x00\x7e" + MASK + bytes(126), 1002),
    "fragmented ping": (b"\x09\x80" + MASK, 1002),
    "length in too many bytes": (b"\x81\xfe\x00\x05" + MASK + b"12345", 1002),
    "negative length": (b"\x81\xff" + b"\xff" * 8 + MASK, 1002),
    "close with half a code": (b"\x88\x81" + MASK + b"\x03", 1002),
    "close with code 0": (b"\x88\x82" + MASK + b"\0\0", 1002),
    "close with code 1005": (b"\x88\x82" + MASK + b"\x03\xed", 1002),
    "close with code 65535": (b"\x88\x82" + MASK + b"\xff\xff", 1002),
    "close with invalid UTF-8": (b"\x88\x83" + MASK + b"\x03\xe8\xff", 1007),
}


@pytest.mark.parametrize("name", INVALID_FRAMES)
async def test_invalid_frame_closes_with_its_code(
    make_settings: MakeSettings, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    invalid, code = INVALID_FRAMES[name]
    async with serving_in_process(make_settings()) as (address, _):
        reader, writer = await connect_raw(address, HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(invalid * 2)
        codec = WebSocketCodec(ConnectionType.CLIENT)
        async with asyncio.timeout(60):
            codec.receive_data(await reader.read(1024))
            assert [event.code for event in codec.events()] == [code]  # type: ignore[attr-defined]
        writer.transport.abort()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_close_during_search_is_answered(address: str) -> None:
    async with connect(address) as websocket:
        await SearchSocket(websocket).search(1, "cat")
        await websocket.close(1000, "enough")
        assert websocket.close_code == 1000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_shutdown_closes_websockets_before_drain_timeout(
    upstream: Upstream, number: signal.Signals
) -> None:
    with serving(upstream, TYPING_PAUSE_MS=0) as (process, address):
        async with contextlib.AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(connect(address)) for _ in range(8)]
            upstream.behave(Hang(), DENSE)
            await SearchSocket(sockets[0]).search(1, "cat", "semantic")
            await upstream.until(lambda: len(upstream.searches()) == 1)
            loop = asyncio.get_running_loop()
            stopped_at = loop.time()
            process.popen.send_signal(number)
            assert {await wait_for_close(each) for each in sockets} == {
                (1001, "the service is stopping")
            }
            assert await asyncio.to_thread(process.wait) == 0
            assert loop.time() - stopped_at < 15  # DRAIN_TIMEOUT_S is 20
        assert "Traceback" not in process.log()
        assert '"ERROR"' not in process.log()


async def test_shutdown_finishes_running_stream(
    upstream: Upstream,
) -> None:
    with serving(upstream) as (process, address):
        upstream.behave(Hang(), DENSE)
        url = f"{address}/api/cascading-retrieval/stream?text_query=cat&timeout_ms=2500"
        text = ""
        async with httpx.AsyncClient() as client, client.stream("GET", url) as response:
            async for piece in response.aiter_text():
                if not text:
                    process.popen.send_signal(signal.SIGTERM)
                text += piece
        assert parse_events(text)[-1].name == "done"
        assert parse_events(text)[-1].data["degraded"] is True
        assert await asyncio.to_thread(process.wait) == 0


async def test_websocket_sends_nothing_of_replaced_searches(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    settings = make_settings(typing_pause_ms=1)
    async with serving_in_process(settings) as (address, _), connect(address) as websocket:
        seqs: list[int] = []

        async def listen() -> None:
            async for text in websocket:
                seqs.append(json.loads(text)["seq"])
                if json.loads(text)["stage"] == "done" and seqs[-1] == 199:
                    return

        listening = asyncio.create_task(listen())
        for seq in range(200):
            await SearchSocket(websocket).search(seq, f"cat {seq}", rerank="none")
            await asyncio.sleep(0.002 * (seq % 3))
        async with asyncio.timeout(60):
            await listening
        assert seqs == sorted(seqs)
        assert len(set(seqs)) < 200


async def test_websocket_without_pong_is_disconnected(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    slow_clients = SlowClientPolicy(ping_interval_s=0.05)
    async with serving_in_process(make_settings(), slow_clients) as (address, _):
        async with connect(address) as responsive:
            reader, writer = await connect_raw(address, HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(60):
                received = await reader.read()
            writer.close()
            codec = WebSocketCodec(ConnectionType.CLIENT)
            codec.receive_data(received)
            assert all(isinstance(event, Ping) for event in codec.events())
            await SearchSocket(responsive).ping()  # it answers pings, and was connected earlier
            assert responsive.close_code is None


async def test_silent_websocket_that_answers_pings_stays_open(
    make_settings: MakeSettings,
) -> None:
    async with serving_in_process(make_settings(), SlowClientPolicy(ping_interval_s=0.02)) as (
        address,
        server,
    ):
        server._config.keep_alive_timeout = 0.02
        reader, writer = await connect_raw(address, HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        codec, pings = WebSocketCodec(ConnectionType.CLIENT), 0
        async with asyncio.timeout(60):
            while pings < 8:
                received = await reader.read(1024)
                assert received, "it was disconnected"
                codec.receive_data(received)
                for event in codec.events():
                    assert isinstance(event, Ping)
                    pings += 1
                    writer.write(codec.send(event.response()))
        writer.write(codec.send(CloseConnection(1000)))
        codec.receive_data(await reader.read())
        writer.close()
