"""Clients that do not read what the service sends are disconnected; slow ones are not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop
from wsproto import ConnectionType
from wsproto.connection import Connection as WebSocketCodec
from wsproto.events import TextMessage

from service.server.process import Server
from service.server.slow_clients import SlowClientPolicy
from tests.conftest import MakeSettings
from tests.e2e.in_process import serving_in_process
from tests.e2e.test_sockets import HANDSHAKE
from tests.upstream import Upstream, Wrong

Run = Callable[[Coroutine[Any, Any, None]], None]
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run])

JSON_REQUEST = b"GET /api/semantic-search?text_query=a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
STREAM_REQUEST = (
    b"GET /api/cascading-retrieval/stream?text_query=a&rerank=none HTTP/1.1\r\n"
    b"Host: 127.0.0.1\r\n\r\n"
)
SEARCH = {"type": "search", "seq": 1, "mode": "cascading", "text_query": "a", "rerank": "none"}
WEBSOCKET_REQUEST = (
    HANDSHAKE,
    WebSocketCodec(ConnectionType.CLIENT).send(TextMessage(json.dumps(SEARCH))),
)


def set_hit_size(upstream: Upstream, size: int) -> None:
    """Every search finds one record with a text of `size` characters."""
    hits = [{"_id": "a", "_score": 1.0, "fields": {"chunk_text": "x" * size}}]
    paths = [f"{index}/records/namespaces/__default__/search" for index in ("dense", "sparse")]
    upstream.behave(Wrong({"result": {"hits": hits}, "usage": {"read_units": 1}}), *paths)


@contextlib.asynccontextmanager
async def connect_with_small_buffer(address: str) -> AsyncIterator[socket.socket]:
    url = urlsplit(address)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (str(url.hostname), int(url.port or 0)))
        yield sock


async def send_request(sock: socket.socket, request_bytes: bytes | tuple[bytes, bytes]) -> None:
    loop = asyncio.get_running_loop()
    if isinstance(request_bytes, bytes):
        await loop.sock_sendall(sock, request_bytes)
        return
    await loop.sock_sendall(sock, request_bytes[0])
    while not (await loop.sock_recv(sock, 4096)).endswith(b"\r\n\r\n"):
        pass
    await loop.sock_sendall(sock, request_bytes[1])


async def wait_until_disconnected(server: Server) -> None:
    async with asyncio.timeout(60):
        while server._acceptor.connections:
            await asyncio.wait(server._acceptor.connections)


@LOOPS
@pytest.mark.parametrize(
    "request_bytes",
    [JSON_REQUEST, STREAM_REQUEST, WEBSOCKET_REQUEST],
    ids=["json", "events", "websocket"],
)
def test_client_that_reads_nothing_is_disconnected(
    run: Run,
    request_bytes: bytes | tuple[bytes, bytes],
    make_settings: MakeSettings,
    upstream: Upstream,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        settings = make_settings(typing_pause_ms=0)
        async with serving_in_process(settings, SlowClientPolicy(write_stall_s=0.2)) as (
            address,
            server,
        ):
            set_hit_size(upstream, 8_000_000 if request_bytes is JSON_REQUEST else 200_000)
            async with connect_with_small_buffer(address) as sock:
                await send_request(sock, request_bytes)
                await wait_until_disconnected(server)

    with caplog.at_level(logging.INFO):
        run(main())
    assert [
        record.message for record in caplog.records if record.name == "service.server.slow_clients"
    ] == ["disconnected a client that read nothing for 0.2 s"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@LOOPS
@pytest.mark.parametrize(
    "request_bytes",
    [JSON_REQUEST, STREAM_REQUEST, WEBSOCKET_REQUEST],
    ids=["json", "events", "websocket"],
)
def test_slow_reader_receives_whole_response(
    run: Run,
    request_bytes: bytes | tuple[bytes, bytes],
    make_settings: MakeSettings,
    upstream: Upstream,
) -> None:
    async def main() -> None:
        settings = make_settings(typing_pause_ms=0)
        async with serving_in_process(settings, SlowClientPolicy(write_stall_s=0.5)) as (
            address,
            _,
        ):
            set_hit_size(upstream, 3_000_000 if request_bytes is JSON_REQUEST else 30_000)
            async with connect_with_small_buffer(address) as sock, asyncio.timeout(60):
                await send_request(sock, request_bytes)
                loop, received = asyncio.get_running_loop(), b""
                started_at = loop.time()
                while b'"receipt":{' not in received[-4096:]:
                    piece = await loop.sock_recv(
                        sock, 1_000_000 if request_bytes is JSON_REQUEST else 4096
                    )
                    assert piece, "it was disconnected"
                    received += piece
                    if loop.time() < started_at + 1.2:
                        await asyncio.sleep(0.02)

    run(main())


@LOOPS
def test_websocket_flood_without_reading_is_disconnected(
    run: Run, make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Only unread answers are buffered; the service stops reading further messages."""
    messages = WebSocketCodec(ConnectionType.CLIENT).send(TextMessage('{"type": "ping"}')) * 100
    sent = 0

    async def flood(sock: socket.socket) -> None:
        nonlocal sent
        while True:
            await asyncio.get_running_loop().sock_sendall(sock, messages)
            sent += len(messages)

    async def main() -> None:
        async with serving_in_process(make_settings(), SlowClientPolicy(write_stall_s=0.2)) as (
            address,
            server,
        ):
            async with connect_with_small_buffer(address) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                await send_request(sock, (HANDSHAKE, b""))
                async with asyncio.timeout(60):
                    with pytest.raises(ConnectionError):
                        await flood(sock)
                await wait_until_disconnected(server)

    run(main())
    assert sent < 4_000_000
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
