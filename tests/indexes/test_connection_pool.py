"""The connection pool: every form of an HTTP response, errors, and connection reuse."""

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
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Origin:
    """A server that runs a script for each connection."""

    def __init__(self, script: Script) -> None:
        self.connections = 0
        self.connection_ended = asyncio.Event()
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
        self.connection_ended.set()

    async def end(self) -> None:
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)


@contextlib.asynccontextmanager
async def origin(
    script: Script,
    max_idle: int = 4,
    server_tls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[Origin, ConnectionPool]]:
    origin_server = Origin(script)
    server = await asyncio.start_server(origin_server.serve, "127.0.0.1", 0, ssl=server_tls)
    pool = ConnectionPool("127.0.0.1", server.sockets[0].getsockname()[1], tls, max_idle)
    try:
        yield origin_server, pool
    finally:
        await pool.close()
        server.close()
        await origin_server.end()
        await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(len(REQUEST))


def respond_always(*pieces: bytes) -> Script:
    """Answer each request with these pieces, one write each."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)

    return script


@pytest.mark.parametrize(
    "pieces",
    [
        (RESPONSE,),
        tuple(bytes([byte]) for byte in RESPONSE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",),
        (b"HTTP/1.1 100 Continue\r\n\r\n", RESPONSE),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + RESPONSE,),
    ],
)
async def test_pool_parses_each_form_of_response_and_reuses_the_connection(
    pieces: tuple[bytes, ...],
) -> None:
    async with origin(respond_always(*pieces)) as (server, pool):
        for _ in range(3):
            received = await pool.send(REQUEST)
            assert (received.status, received.body) == (200, b"hello")
            assert b"Link" not in dict(received.headers)
        assert server.connections == 1


async def test_pool_parses_a_response_without_a_body() -> None:
    async with origin(respond_always(b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n")) as (
        server,
        pool,
    ):
        for _ in range(2):
            assert await pool.send(REQUEST) == (204, [(b"X-A", b"b")], b"")
        assert server.connections == 1


async def test_pool_parses_a_response_that_ends_with_the_connection() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nServer: old\r\n\r\nhello")

    async with origin(script) as (server, pool):
        for _ in range(2):
            assert (await pool.send(REQUEST)).body == b"hello"
        assert server.connections == 2


async def test_pool_drops_a_connection_after_connection_close() -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
    async with origin(respond_always(closing)) as (server, pool):
        for _ in range(3):
            assert (await pool.send(REQUEST)).body == b"hello"
        assert server.connections == 3


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        RESPONSE[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_pool_raises_for_a_truncated_response(broken: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(broken)

    async with origin(script) as (_, pool):
        with pytest.raises(ConnectionBroken, match="lost"):
            await pool.send(REQUEST)


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", b"\0" * 99],
)
async def test_pool_raises_for_a_response_that_is_not_http(garbage: bytes) -> None:
    async with origin(respond_always(garbage)) as (server, pool):
        for _ in range(2):
            with pytest.raises(ConnectionBroken, match="not valid HTTP"):
                await pool.send(REQUEST)
        assert server.connections == 2


async def test_pool_drops_a_connection_with_an_extra_response() -> None:
    """On a connection that is kept, the next request would get it."""
    async with origin(respond_always(RESPONSE + RESPONSE.replace(b"hello", b"wrong"))) as (
        server,
        pool,
    ):
        for _ in range(3):
            assert (await pool.send(REQUEST)).body == b"hello"
        assert server.connections == 3


async def test_pool_drops_an_idle_connection_that_receives_data() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(RESPONSE)
        await writer.drain()
        await send_more.wait()
        writer.write(RESPONSE.replace(b"hello", b"wrong"))
        await reader.read()

    send_more = asyncio.Event()
    async with origin(script) as (server, pool):
        assert (await pool.send(REQUEST)).body == b"hello"
        send_more.set()
        await asyncio.wait_for(server.connection_ended.wait(), 10)
        assert (await pool.send(REQUEST)).body == b"hello"
        assert server.connections == 2


async def test_pool_replaces_a_connection_that_was_closed_while_idle() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(RESPONSE)
        writer.write_eof()
        await reader.read()  # until the pool has seen the end, and closed its side

    async with origin(script) as (server, pool):
        for expected in (1, 2, 3):
            server.connection_ended.clear()
            assert (await pool.send(REQUEST)).body == b"hello"
            assert server.connections == expected
            await asyncio.wait_for(server.connection_ended.wait(), 10)


async def test_pool_does_not_reuse_an_expired_connection() -> None:
    """A proxy or NAT may have dropped it silently."""
    async with origin(respond_always(RESPONSE)) as (server, pool):
        pool.max_idle_s = 0.0
        for _ in range(3):
            assert (await pool.send(REQUEST)).body == b"hello"
        assert server.connections == 3


async def test_cancelled_request_costs_one_connection() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            received_request.set()
            await answer.wait()
            writer.write(RESPONSE)

    received_request, answer = asyncio.Event(), asyncio.Event()
    async with origin(script) as (server, pool):
        request = asyncio.create_task(pool.send(REQUEST))
        await received_request.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        answer.set()
        for _ in range(2):
            assert (await pool.send(REQUEST)).body == b"hello"
        assert server.connections == 2


async def test_pool_opens_a_connection_per_request_and_keeps_max_idle() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await all_received.wait()
            writer.write(RESPONSE)

    all_received = asyncio.Barrier(10)
    async with origin(script, max_idle=4) as (server, pool):
        for expected in (10, 16):
            answers = await asyncio.gather(*(pool.send(REQUEST) for _ in range(10)))
            assert [answer.body for answer in answers] == [b"hello"] * 10
            assert server.connections == expected


async def test_pool_close_aborts_idle_and_active_connections() -> None:
    async with origin(respond_always()) as (_, pool):
        request = asyncio.create_task(pool.send(REQUEST))
        while not pool.active:
            await asyncio.sleep(0)
        await pool.close()
        with pytest.raises(ConnectionBroken):
            await request


async def test_pool_raises_connect_failed_if_nothing_listens(unused_tcp_port: int) -> None:
    pool = ConnectionPool("127.0.0.1", unused_tcp_port, None, 4)
    with pytest.raises(ConnectFailed):
        await pool.send(REQUEST)


async def test_pool_over_tls_requires_a_trusted_certificate() -> None:
    authority = trustme.CA()
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    trusted, untrusted = ssl.create_default_context(), ssl.create_default_context()
    authority.configure_trust(trusted)
    async with origin(respond_always(RESPONSE), server_tls=server_tls, tls=trusted) as (
        server,
        pool,
    ):
        for _ in range(3):
            assert (await pool.send(REQUEST)).body == b"hello"
        assert server.connections == 1
    async with origin(respond_always(RESPONSE), server_tls=server_tls, tls=untrusted) as (_, pool):
        with pytest.raises(ConnectFailed, match="certificate"):
            await pool.send(REQUEST)
