"""Clients that do not read what was written to them: they are cut off."""

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
from wsproto.connection import Connection as Frames
from wsproto.events import TextMessage

from service.server.process import Server
from service.server.slow_clients import SlowClientPolicy
from tests.conftest import MakeSettings
from tests.e2e.in_process import served
from tests.e2e.test_sockets import HANDSHAKE
from tests.upstream import Upstream, Wrong

Run = Callable[[Coroutine[Any, Any, None]], None]
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run])

JSON = b"GET /api/semantic-search?text_query=a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
EVENTS = (
    b"GET /api/cascading-retrieval/stream?text_query=a&rerank=none HTTP/1.1\r\n"
    b"Host: 127.0.0.1\r\n\r\n"
)
SEARCH = {"type": "search", "seq": 1, "mode": "cascading", "text_query": "a", "rerank": "none"}
TYPED = HANDSHAKE, Frames(ConnectionType.CLIENT).send(TextMessage(json.dumps(SEARCH)))


def finds(upstream: Upstream, size: int) -> None:
    """Every search finds so much."""
    hits = [{"_id": "a", "_score": 1.0, "fields": {"chunk_text": "x" * size}}]
    paths = [f"{index}/records/namespaces/__default__/search" for index in ("dense", "sparse")]
    upstream.behave(Wrong({"result": {"hits": hits}, "usage": {"read_units": 1}}), *paths)


@contextlib.asynccontextmanager
async def reader_of_little(where: str) -> AsyncIterator[socket.socket]:
    url = urlsplit(where)
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(wire, (str(url.hostname), int(url.port or 0)))
        yield wire


async def ask(wire: socket.socket, said: bytes | tuple[bytes, bytes]) -> None:
    loop = asyncio.get_running_loop()
    if isinstance(said, bytes):
        await loop.sock_sendall(wire, said)
        return
    await loop.sock_sendall(wire, said[0])
    while not (await loop.sock_recv(wire, 4096)).endswith(b"\r\n\r\n"):
        pass
    await loop.sock_sendall(wire, said[1])


async def until_nobody_is_left(server: Server) -> None:
    async with asyncio.timeout(60):
        while server._acceptor.connections:
            await asyncio.wait(server._acceptor.connections)


@LOOPS
@pytest.mark.parametrize("said", [JSON, EVENTS, TYPED], ids=["json", "events", "websocket"])
def test_who_does_not_read_is_cut_off(
    run: Run,
    said: bytes | tuple[bytes, bytes],
    make_settings: MakeSettings,
    upstream: Upstream,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        settings = make_settings(typing_pause_ms=0)
        async with served(settings, SlowClientPolicy(write_stall_s=0.2)) as (where, server):
            finds(upstream, 8_000_000 if said is JSON else 200_000)
            async with reader_of_little(where) as wire:
                await ask(wire, said)
                await until_nobody_is_left(server)

    with caplog.at_level(logging.INFO):
        run(main())
    assert [
        record.message for record in caplog.records if record.name == "service.server.slow_clients"
    ] == ["disconnected a client that read nothing for 0.2 s"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@LOOPS
@pytest.mark.parametrize("said", [JSON, EVENTS, TYPED], ids=["json", "events", "websocket"])
def test_who_reads_slowly_gets_all_of_it(
    run: Run,
    said: bytes | tuple[bytes, bytes],
    make_settings: MakeSettings,
    upstream: Upstream,
) -> None:
    async def main() -> None:
        settings = make_settings(typing_pause_ms=0)
        async with served(settings, SlowClientPolicy(write_stall_s=0.5)) as (where, _):
            finds(upstream, 3_000_000 if said is JSON else 30_000)
            async with reader_of_little(where) as wire, asyncio.timeout(60):
                await ask(wire, said)
                loop, got, began = (
                    asyncio.get_running_loop(),
                    b"",
                    asyncio.get_running_loop().time(),
                )
                while b'"receipt":{' not in got[-4096:]:
                    piece = await loop.sock_recv(wire, 1_000_000 if said is JSON else 4096)
                    assert piece, "it was cut off"
                    got += piece
                    if loop.time() < began + 1.2:
                        await asyncio.sleep(0.02)

    run(main())


@LOOPS
def test_who_asks_and_asks_and_never_reads_is_not_heard_for_long(
    run: Run, make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """What is not read of the answers is all that is kept: questions wait on the other side."""
    frames = Frames(ConnectionType.CLIENT).send(TextMessage('{"type": "ping"}')) * 100
    sent = 0

    async def flood(wire: socket.socket) -> None:
        nonlocal sent
        while True:
            await asyncio.get_running_loop().sock_sendall(wire, frames)
            sent += len(frames)

    async def main() -> None:
        async with served(make_settings(), SlowClientPolicy(write_stall_s=0.2)) as (where, server):
            async with reader_of_little(where) as wire:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                await ask(wire, (HANDSHAKE, b""))
                async with asyncio.timeout(60):
                    with pytest.raises(ConnectionError):
                        await flood(wire)
                await until_nobody_is_left(server)

    run(main())
    assert sent < 4_000_000
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
