"""The acceptor accepts several connections per loop iteration, up to its limit."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from service.server.acceptor import ACCEPTS_PER_ITERATION, Acceptor
from service.server.idle_connections import IdleConnections
from service.server.process import listen


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listen("127.0.0.1", 0) as listener:
        yield listener


async def send_greeting(connection: socket.socket) -> None:
    """Send a greeting, and return when the client disconnects."""
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    with connection:
        await loop.sock_sendall(connection, b"hello")
        await loop.sock_recv(connection, 1)


async def receive_greeting(client: socket.socket) -> bytes:
    return await asyncio.to_thread(client.recv, 16)


async def test_acceptor_accepts_many_connections_at_once(listener: socket.socket) -> None:
    acceptor = Acceptor(send_greeting, IdleConnections())
    with contextlib.ExitStack() as stack:
        address = listener.getsockname()
        clients = [
            stack.enter_context(socket.create_connection(address))
            for _ in range(3 * ACCEPTS_PER_ITERATION)
        ]
        acceptor.start(listener)
        for client in clients:
            assert await receive_greeting(client) == b"hello"
        assert len(acceptor.connections) == len(clients)
    await asyncio.wait(acceptor.connections)
    acceptor.stop(listener)


async def test_acceptor_pauses_at_max_connections_until_one_closes(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    acceptor = Acceptor(send_greeting, IdleConnections(), max_connections=2)
    acceptor.start(listener)
    address = listener.getsockname()
    with contextlib.ExitStack() as stack:
        first = socket.create_connection(address)
        second, third = (stack.enter_context(socket.create_connection(address)) for _ in range(2))
        assert await receive_greeting(first) == await receive_greeting(second) == b"hello"
        third_greeting = asyncio.create_task(receive_greeting(third))
        while not caplog.records:
            await asyncio.sleep(0)
        assert (
            caplog.records[0].getMessage()
            == "accepting no connections for 0.1 s: 2 connections are open"
        )
        assert not third_greeting.done()
        first.close()
        assert await third_greeting == b"hello"
    await asyncio.wait(acceptor.connections)
    acceptor.stop(listener)
