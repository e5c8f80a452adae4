"""The wire reads whatever HTTP allows an answer to be, and keeps only what is whole."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trustme

from service.indexes.wire import ConnectFailed, Wire, WireError

REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Origin:
    """A server that does with each connection what its script says."""

    def __init__(self, script: Script) -> None:
        self.connections = 0
        self.gone = asyncio.Event()  # a connection has ended
        self._script = script
        self._serving: set[Any] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._serving.add(task := asyncio.current_task())
        with contextlib.suppress(
            ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
        ):
            await self._script(reader, writer)
        self._serving.discard(task)
        writer.close()
        self.gone.set()

    async def end(self) -> None:
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)


@contextlib.asynccontextmanager
async def origin(
    script: Script,
    kept: int = 4,
    server_tls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[Origin, Wire]]:
    made = Origin(script)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=server_tls)
    wire = Wire("127.0.0.1", server.sockets[0].getsockname()[1], tls, kept)
    try:
        yield made, wire
    finally:
        await wire.close()
        server.close()
        await made.end()
        await server.wait_closed()


async def taken(reader: asyncio.StreamReader) -> bytes:
    """One request."""
    return await reader.readexactly(len(REQUEST))


def always(*answers: bytes) -> Script:
    """The same pieces for each request, one after the other."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await taken(reader)
            for piece in answers:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)

    return script


@pytest.mark.parametrize(
    "pieces",
    [
        (WHOLE,),
        tuple(bytes([byte]) for byte in WHOLE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",),
        (b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + WHOLE,),
    ],
)
async def test_an_answer_is_read_however_it_comes_and_the_connection_kept(
    pieces: tuple[bytes, ...],
) -> None:
    async with origin(always(*pieces)) as (server, wire):
        for _ in range(3):
            received = await wire.ask(REQUEST)
            assert (received.status, received.body) == (200, b"hello")
            assert b"Link" not in dict(received.headers)
        assert server.connections == 1


async def test_an_answer_without_a_body() -> None:
    async with origin(always(b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n")) as (server, wire):
        for _ in range(2):
            assert await wire.ask(REQUEST) == (204, [(b"X-A", b"b")], b"")
        assert server.connections == 1


async def test_an_answer_may_end_with_the_connection() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nServer: old\r\n\r\nhello")

    async with origin(script) as (server, wire):
        for _ in range(2):
            assert (await wire.ask(REQUEST)).body == b"hello"
        assert server.connections == 2


async def test_a_connection_that_is_said_to_end_is_not_kept() -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
    async with origin(always(closing)) as (server, wire):
        for _ in range(3):
            assert (await wire.ask(REQUEST)).body == b"hello"
        assert server.connections == 3


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        WHOLE[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_none(broken: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken(reader)
        writer.write(broken)

    async with origin(script) as (_, wire):
        with pytest.raises(WireError, match="broke"):
            await wire.ask(REQUEST)


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", b"\0" * 99],
)
async def test_what_is_no_http_is_an_error(garbage: bytes) -> None:
    async with origin(always(garbage)) as (server, wire):
        for _ in range(2):
            with pytest.raises(WireError, match="no HTTP"):
                await wire.ask(REQUEST)
        assert server.connections == 2


async def test_an_answer_too_many_is_nobodys() -> None:
    """Were the connection kept, the next request would get it."""
    async with origin(always(WHOLE + WHOLE.replace(b"hello", b"wrong"))) as (server, wire):
        for _ in range(3):
            assert (await wire.ask(REQUEST)).body == b"hello"
        assert server.connections == 3


async def test_what_comes_unasked_ends_the_connection() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken(reader)
        writer.write(WHOLE)
        await writer.drain()
        await speak.wait()
        writer.write(WHOLE.replace(b"hello", b"wrong"))
        await reader.read()

    speak = asyncio.Event()
    async with origin(script) as (server, wire):
        assert (await wire.ask(REQUEST)).body == b"hello"
        speak.set()
        await asyncio.wait_for(server.gone.wait(), 10)
        assert (await wire.ask(REQUEST)).body == b"hello"
        assert server.connections == 2


async def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken(reader)
        writer.write(WHOLE)

    async with origin(script) as (server, wire):
        for expected in (1, 2, 3):
            server.gone.clear()
            assert (await wire.ask(REQUEST)).body == b"hello"
            assert server.connections == expected
            await asyncio.wait_for(server.gone.wait(), 10)


async def test_an_old_connection_is_not_trusted() -> None:
    """What stands in between may have forgotten it, and would not say so."""
    async with origin(always(WHOLE)) as (server, wire):
        wire.kept_s = 0.0
        for _ in range(3):
            assert (await wire.ask(REQUEST)).body == b"hello"
        assert server.connections == 3


async def test_who_gives_up_costs_one_connection() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await taken(reader)
            asked.set()
            await answer.wait()
            writer.write(WHOLE)

    asked, answer = asyncio.Event(), asyncio.Event()
    async with origin(script) as (server, wire):
        asking = asyncio.create_task(wire.ask(REQUEST))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        answer.set()
        for _ in range(2):
            assert (await wire.ask(REQUEST)).body == b"hello"
        assert server.connections == 2


async def test_as_many_connections_as_requests_and_few_of_them_kept() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await taken(reader)
            await together.wait()
            writer.write(WHOLE)

    together = asyncio.Barrier(10)
    async with origin(script, kept=4) as (server, wire):
        for expected in (10, 16):
            answers = await asyncio.gather(*(wire.ask(REQUEST) for _ in range(10)))
            assert [answer.body for answer in answers] == [b"hello"] * 10
            assert server.connections == expected


async def test_closing_ends_what_is_kept_and_what_is_in_use() -> None:
    async with origin(always()) as (_, wire):
        asking = asyncio.create_task(wire.ask(REQUEST))
        while not wire.in_use:
            await asyncio.sleep(0)
        await wire.close()
        with pytest.raises(WireError):
            await asking


async def test_nobody_there_is_said_to_be_so(unused_tcp_port: int) -> None:
    wire = Wire("127.0.0.1", unused_tcp_port, None, 4)
    with pytest.raises(ConnectFailed):
        await wire.ask(REQUEST)


async def test_over_tls_with_a_certificate_that_is_trusted_and_not_otherwise() -> None:
    authority = trustme.CA()
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    trusting, stranger = ssl.create_default_context(), ssl.create_default_context()
    authority.configure_trust(trusting)
    async with origin(always(WHOLE), server_tls=server_tls, tls=trusting) as (server, wire):
        for _ in range(3):
            assert (await wire.ask(REQUEST)).body == b"hello"
        assert server.connections == 1
    async with origin(always(WHOLE), server_tls=server_tls, tls=stranger) as (_, wire):
        with pytest.raises(ConnectFailed, match="certificate"):
            await wire.ask(REQUEST)
