"""Connections are taken in crowds, and not more than there is room for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from service.server.acceptor import ACCEPTS_PER_ITERATION, Acceptor
from service.server.process import listen


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listen("127.0.0.1", 0) as listener:
        yield listener


async def greet(connection: socket.socket) -> None:
    """Say hello, and stay until the other side goes."""
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    with connection:
        await loop.sock_sendall(connection, b"hello")
        await loop.sock_recv(connection, 1)


async def greeting(client: socket.socket) -> bytes:
    return await asyncio.to_thread(client.recv, 16)


async def test_a_crowd_is_let_in(listener: socket.socket) -> None:
    acceptor = Acceptor(greet)
    with contextlib.ExitStack() as stack:
        address = listener.getsockname()
        clients = [
            stack.enter_context(socket.create_connection(address))
            for _ in range(3 * ACCEPTS_PER_ITERATION)
        ]
        acceptor.start(listener)
        for client in clients:
            assert await greeting(client) == b"hello"
        assert len(acceptor.connections) == len(clients)
    await asyncio.wait(acceptor.connections)
    acceptor.stop(listener)


async def test_where_there_is_no_room_the_next_one_waits_until_somebody_goes(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    acceptor = Acceptor(greet, max_connections=2)
    acceptor.start(listener)
    address = listener.getsockname()
    with contextlib.ExitStack() as stack:
        first = socket.create_connection(address)
        second, third = (stack.enter_context(socket.create_connection(address)) for _ in range(2))
        assert await greeting(first) == await greeting(second) == b"hello"
        hello = asyncio.create_task(greeting(third))
        while not caplog.records:
            await asyncio.sleep(0)
        assert (
            caplog.records[0].getMessage()
            == "accepting no connections for 0.5 s: 2 connections are open"
        )
        assert not hello.done()
        first.close()
        assert await hello == b"hello"
    await asyncio.wait(acceptor.connections)
    acceptor.stop(listener)
