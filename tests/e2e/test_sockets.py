"""WebSockets over a real wire: handshakes, what is too large, who is gone, the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from wsproto import ConnectionType
from wsproto.connection import Connection as Frames
from wsproto.events import CloseConnection, Ping, TextMessage

from service.server.slow_clients import SlowClientPolicy
from service.web.search.as_you_type import PATH
from tests.conftest import MakeSettings
from tests.e2e.in_process import served
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
def where() -> Iterator[str]:
    with Upstream() as upstream, serving(upstream, TYPING_PAUSE_MS=0) as (_, address):
        yield address


@contextlib.asynccontextmanager
async def connected(where: str, **options: Any) -> AsyncIterator[ClientConnection]:
    url = where.replace("http", "ws", 1) + PATH
    async with websockets.connect(url, ping_interval=None, **options) as wire:
        yield wire


async def closed(wire: ClientConnection) -> tuple[int, str]:
    """The code that the other side closes with, and why."""
    async for _ in hearing(wire):
        pass
    assert wire.close_code is not None
    return wire.close_code, wire.close_reason or ""


async def hearing(wire: ClientConnection) -> AsyncIterator[Any]:
    """Until it is closed, whatever for."""
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            yield await wire.recv()


async def raw(where: str, said: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = urlsplit(where)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(said)
    return reader, writer


async def answer_to(where: str, said: bytes) -> bytes:
    """All that comes until the other side closes."""
    reader, writer = await raw(where, said)
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


async def test_searches_and_stages_come_over_the_wire(where: str) -> None:
    async with connected(where) as wire:
        assert wire.response is not None
        assert wire.response.headers["X-Request-Id"]
        assert "Sec-WebSocket-Extensions" not in wire.response.headers
        talk = SearchSocket(wire)
        await talk.search(1, "the road before the winter", top_k=3)
        told = await talk.receive_all()
        asked = {"text_query": "the road before the winter", "top_k": 3}
        async with httpx.AsyncClient(base_url=where) as client:
            answer = (await client.post("/api/cascading-retrieval", json=asked)).json()
        assert [each["stage"] for each in told[2:]] == ["fused", "reranked", "done"]
        assert told[-1]["results"] == answer["results"]
        await wire.close()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
        (b"Version: 13", b"Version: 12"),
        (b"Sec-WebSocket-Version: 13\r\n", b""),
    ],
)
async def test_a_handshake_that_is_none_is_an_error_and_the_end(
    where: str, old: bytes, new: bytes
) -> None:
    head, _, body = (await answer_to(where, HANDSHAKE.replace(old, new))).partition(b"\r\n\r\n")
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
async def test_what_is_not_to_be_a_websocket_is_answered(
    where: str, old: bytes, new: bytes, status: bytes
) -> None:
    asked = HANDSHAKE.replace(old, new, 1)
    if b"Connection: Upgrade" in asked and status != b"404":
        asked = asked.replace(b"Connection: Upgrade", b"Connection: Upgrade, close")
    head, _, body = (await answer_to(where, asked)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status), head
    assert json.loads(body)["request_id"].encode() in head


async def test_who_speaks_before_the_handshake_is_over_is_cut_off(where: str) -> None:
    frame = Frames(ConnectionType.CLIENT).send(TextMessage('{"type": "ping"}'))
    head = await answer_to(where, HANDSHAKE + frame)
    assert head.startswith(b"HTTP/1.1 400 ")


async def test_a_message_that_is_too_large_closes_with_its_code(where: str) -> None:
    async with connected(where) as wire:
        await wire.send("x" * 65_536)
        assert json.loads(await wire.recv())["code"] == "bad_request"
        await wire.send("x" * 2_000_000)
        assert await closed(wire) == (1009, "at most 65536 characters")
    async with connected(where) as wire:
        await wire.send(["x" * 40_000] * 4)  # in pieces
        assert (await closed(wire))[0] == 1009


async def test_what_is_no_text_closes_with_its_code(where: str) -> None:
    async with connected(where) as wire:
        await wire.send(b"{}")
        assert await closed(wire) == (1003, "only text messages are supported")
    for spoiled, code in ((b"\x81\x82\0\0\0\0\xff\xff", 1007), (b"\xf1\x80\0\0\0\0", 1002)):
        reader, writer = await raw(where, HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(spoiled)
        frames = Frames(ConnectionType.CLIENT)
        frames.receive_data(await reader.read(1024))
        assert [event.code for event in frames.events()] == [code]  # type: ignore[attr-defined]
        writer.close()
        await writer.wait_closed()


async def test_who_closes_is_answered_whatever_is_under_way(where: str) -> None:
    async with connected(where) as wire:
        await SearchSocket(wire).search(1, "cat")
        await wire.close(1000, "enough")
        assert wire.close_code == 1000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_closes_every_socket_and_is_quick(
    upstream: Upstream, number: signal.Signals
) -> None:
    with serving(upstream, TYPING_PAUSE_MS=0) as (process, address):
        async with contextlib.AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(connected(address)) for _ in range(8)]
            upstream.behave(Hang(), DENSE)
            await SearchSocket(wires[0]).search(1, "cat", "semantic")
            await upstream.until(lambda: len(upstream.searches()) == 1)
            loop = asyncio.get_running_loop()
            stopped_at = loop.time()
            process.popen.send_signal(number)
            assert {await closed(wire) for wire in wires} == {(1001, "the service is stopping")}
            assert await asyncio.to_thread(process.wait) == 0
            assert loop.time() - stopped_at < 15  # DRAIN_TIMEOUT_S is 20
        assert "Traceback" not in process.log()
        assert '"ERROR"' not in process.log()


async def test_a_stream_that_is_under_way_at_the_stop_is_told_to_its_end(
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


async def test_who_types_fast_never_hears_of_what_is_over(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    settings = make_settings(typing_pause_ms=1)
    async with served(settings) as (where, _), connected(where) as wire:
        seqs: list[int] = []

        async def listen() -> None:
            async for text in wire:
                seqs.append(json.loads(text)["seq"])
                if json.loads(text)["stage"] == "done" and seqs[-1] == 199:
                    return

        listening = asyncio.create_task(listen())
        for seq in range(200):
            await SearchSocket(wire).search(seq, f"cat {seq}", rerank="none")
            await asyncio.sleep(0.002 * (seq % 3))
        async with asyncio.timeout(60):
            await listening
        assert seqs == sorted(seqs)
        assert len(set(seqs)) < 200


async def test_who_does_not_answer_is_let_go(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    patience = SlowClientPolicy(ping_interval_s=0.05)
    async with served(make_settings(), patience) as (where, _):
        async with connected(where) as lively:
            reader, writer = await raw(where, HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(60):
                said = await reader.read()  # to the end
            writer.close()
            frames = Frames(ConnectionType.CLIENT)
            frames.receive_data(said)
            assert all(isinstance(event, Ping) for event in frames.events())
            await SearchSocket(lively).ping()  # answers pings, and has been here for longer
            assert lively.close_code is None


async def test_who_is_silent_but_answers_pings_stays_and_is_not_idle(
    make_settings: MakeSettings,
) -> None:
    async with served(make_settings(), SlowClientPolicy(ping_interval_s=0.02)) as (where, server):
        server._config.keep_alive_timeout = 0.02
        reader, writer = await raw(where, HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        frames, pings = Frames(ConnectionType.CLIENT), 0
        async with asyncio.timeout(60):
            while pings < 8:
                frames.receive_data(await reader.read(1024))
                for event in frames.events():
                    assert isinstance(event, Ping)
                    pings += 1
                    writer.write(frames.send(event.response()))
        writer.write(frames.send(CloseConnection(1000)))
        frames.receive_data(await reader.read())
        writer.close()
