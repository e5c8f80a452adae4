"""Idle clients do not keep others out when connections or descriptors run out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service.server.connection import ServerConnection
from service.server.process import Server
from tests.conftest import MakeSettings
from tests.e2e.in_process import serving_in_process
from tests.e2e.process import serving
from tests.e2e.test_sockets import HANDSHAKE
from tests.upstream import Upstream

HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def head(self, request: bytes) -> bytes:
        """Send a request, and return the head of the response."""
        self.writer.write(request)
        async with asyncio.timeout(20):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def is_healthy(self) -> bool:
        head = await self.head(HEALTHZ)
        await self._reader.readuntil(b"}")
        return head.startswith(b"HTTP/1.1 200")

    async def wait_until_closed(self) -> None:
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                assert await self._reader.read() == b""

    @property
    def is_open(self) -> bool:
        return not self._reader.at_eof()


@contextlib.asynccontextmanager
async def connect(address: str) -> AsyncIterator[Client]:
    url = urlsplit(address)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def wait_for_connections(server: Server, count: int) -> None:
    """Wait until so many connections are idle."""
    while len(server._idle_connections) != count:
        await asyncio.sleep(0.001)


def limit_descriptors(pid: int, more: int) -> None:
    """Allow the process so many more descriptors than it has."""
    limit = more + max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))


async def test_longest_idle_connection_is_closed_at_connection_limit(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving_in_process(make_settings()) as (address, server):
        server._acceptor._max_connections = 4
        async with (
            connect(address) as websocket,
            connect(address) as first,
            connect(address) as silent,
            connect(address) as last,
        ):
            assert (await websocket.head(HANDSHAKE)).startswith(b"HTTP/1.1 101")
            assert await first.is_healthy()
            await wait_for_connections(server, 3)
            assert await last.is_healthy()
            assert await first.is_healthy()  # so the silent one is now the longest idle one
            async with connect(address) as newcomer, connect(address) as second_newcomer:
                assert await newcomer.is_healthy()
                await silent.wait_until_closed()
                assert await second_newcomer.is_healthy()
                await last.wait_until_closed()
                assert first.is_open
                assert await first.is_healthy()
            assert websocket.is_open
    assert "closed idle connections to accept others: 1" in caplog.text


async def test_half_a_request_outlives_quiet_connection_at_connection_limit(
    make_settings: MakeSettings,
) -> None:
    async with serving_in_process(make_settings()) as (address, server):
        server._acceptor._max_connections = 2
        async with connect(address) as sending:
            sending.writer.write(HEALTHZ[:20])
            await wait_for_connections(server, 1)
            async with connect(address) as quiet:
                await wait_for_connections(server, 2)
                async with connect(address) as newcomer:
                    assert await newcomer.is_healthy()
                    await quiet.wait_until_closed()
                    head = await sending.head(HEALTHZ[20:])
                    assert head.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", HEALTHZ[:20]])
async def test_closed_connection_is_freed_without_the_garbage_collector(
    make_settings: MakeSettings, sent: bytes
) -> None:
    """It collects old objects so rarely that thousands of connections would stay in memory."""
    async with serving_in_process(make_settings()) as (address, server):
        gc.collect()
        gc.disable()
        try:
            async with connect(address) as client:
                client.writer.write(sent)
                await wait_for_connections(server, 1)
                assert count_connections() == 1
            while server._acceptor.connections:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)
            assert count_connections() == 0
        finally:
            gc.enable()


def count_connections() -> int:
    return sum(isinstance(each, ServerConnection) for each in gc.get_objects())


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux has it")
async def test_service_without_descriptors_closes_idle_connection_for_new_one(
    upstream: Upstream,
) -> None:
    """The kernel refuses to accept, although the limit of connections is far."""
    with serving(upstream) as (process, address):
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(connect(address))
            assert await client.is_healthy()
            limit_descriptors(process.pid, more=8)
            for _ in range(40):
                await stack.enter_async_context(connect(address))
            newcomer = await stack.enter_async_context(connect(address))
            assert await newcomer.is_healthy()
        assert "closed idle connections to accept others" in process.log()
        assert "Traceback" not in process.log()
