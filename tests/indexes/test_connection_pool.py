"""The pool reads whatever HTTP allows an answer to be, and keeps only what is whole."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trustme

from service.indexes.connection_pool import ConnectFailed, ConnectionBroken, ConnectionPool

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
) -> AsyncIterator[tuple[Origin, ConnectionPool]]:
    made = Origin(script)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=server_tls)
    pool = ConnectionPool("127.0.0.1", server.sockets[0].getsockname()[1], tls, kept)
    try:
        yield made, pool
    finally:
        await pool.close()
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
    async with origin(always(*pieces)) as (server, pool):
        for _ in range(3):
            received = await pool.send(REQUEST)
            assert (received.status, received.body) == (200, b"hello")
            assert b"Link" not in dict(received.headers)
        assert server.connections == 1


async def test_an_answer_without_a_body() -> None:
    async with origin(always(b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n")) as (server, pool):
        for _ in range(2):
            assert await pool.send(REQUEST) == (204, [(b"X-A", b"b")], b"")
        assert server.connections == 1


async def test_an_answer_may_end_with_the_connection() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nServer: old\r\n\r\nhello")

    async with origin(script) as (server, pool):
        for _ in range(2):
            assert (await pool.send(REQUEST)).body == b"hello"
        assert server.connections == 2


async def test_a_connection_that_is_said_to_end_is_not_kept() -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
    async with origin(always(closing)) as (server, pool):
        for _ in range(3):
            assert (await pool.send(REQUEST)).body == b"hello"
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

    async with origin(script) as (_, pool):
        with pytest.raises(ConnectionBroken, match="lost"):
            await pool.send(REQUEST)


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", b"\0" * 99],
)
async def test_what_is_no_http_is_an_error(garbage: bytes) -> None:
    async with origin(always(garbage)) as (server, pool):
        for _ in range(2):
            with pytest.raises(ConnectionBroken, match="not valid HTTP"):
                await pool.send(REQUEST)
        assert server.connections == 2


async def test_an_answer_too_many_is_nobodys() -> None:
    """Were the connection kept, the next request would get it."""
    async with origin(always(WHOLE + WHOLE.replace(b"hello", b"wrong"))) as (server, pool):
        for _ in range(3):
            assert (await pool.send(REQUEST)).body == b"hello"
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
    async with origin(script) as (server, pool):
        assert (await pool.send(REQUEST)).body == b"hello"
        speak.set()
        await asyncio.wait_for(server.gone.wait(), 10)
        assert (await pool.send(REQUEST)).body == b"hello"
        assert server.connections == 2


async def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken(reader)
        writer.write(WHOLE)
        writer.write_eof()
        await reader.read()  # until the pool has seen the end, and closed its side

    async with origin(script) as (server, pool):
        for expected in (1, 2, 3):
            server.gone.clear()
            assert (await pool.send(REQUEST)).body == b"hello"
            assert server.connections == expected
            await asyncio.wait_for(server.gone.wait(), 10)


async def test_an_old_connection_is_not_trusted() -> None:
    """What stands in between may have forgotten it, and would not say so."""
    async with origin(always(WHOLE)) as (server, pool):
        pool.max_idle_s = 0.0
        for _ in range(3):
            assert (await pool.send(REQUEST)).body == b"hello"
        assert server.connections == 3


async def test_who_gives_up_costs_one_connection() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await taken(reader)
            asked.set()
            await answer.wait()
            writer.write(WHOLE)

    asked, answer = asyncio.Event(), asyncio.Event()
    async with origin(script) as (server, pool):
        asking = asyncio.create_task(pool.send(REQUEST))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        answer.set()
        for _ in range(2):
            assert (await pool.send(REQUEST)).body == b"hello"
        assert server.connections == 2


async def test_as_many_connections_as_requests_and_few_of_them_kept() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await taken(reader)
            await together.wait()
            writer.write(WHOLE)

    together = asyncio.Barrier(10)
    async with origin(script, kept=4) as (server, pool):
        for expected in (10, 16):
            answers = await asyncio.gather(*(pool.send(REQUEST) for _ in range(10)))
            assert [answer.body for answer in answers] == [b"hello"] * 10
            assert server.connections == expected


async def test_closing_ends_what_is_kept_and_what_is_in_use() -> None:
    async with origin(always()) as (_, pool):
        asking = asyncio.create_task(pool.send(REQUEST))
        while not pool.active:
            await asyncio.sleep(0)
        await pool.close()
        with pytest.raises(ConnectionBroken):
            await asking


async def test_nobody_there_is_said_to_be_so(unused_tcp_port: int) -> None:
    pool = ConnectionPool("127.0.0.1", unused_tcp_port, None, 4)
    with pytest.raises(ConnectFailed):
        await pool.send(REQUEST)


async def test_over_tls_with_a_certificate_that_is_trusted_and_not_otherwise() -> None:
    authority = trustme.CA()
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    trusting, stranger = ssl.create_default_context(), ssl.create_default_context()
    authority.configure_trust(trusting)
    async with origin(always(WHOLE), server_tls=server_tls, tls=trusting) as (server, pool):
        for _ in range(3):
            assert (await pool.send(REQUEST)).body == b"hello"
        assert server.connections == 1
    async with origin(always(WHOLE), server_tls=server_tls, tls=stranger) as (_, pool):
        with pytest.raises(ConnectFailed, match="certificate"):
            await pool.send(REQUEST)
