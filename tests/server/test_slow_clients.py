"""How much is held for somebody who does not read, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from service.server.process import listen
from service.server.slow_clients import SMALL_BUFFER_BYTES, WriteMonitor


class Writer(asyncio.Protocol):
    """One who writes, and is told when to stop."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.full = self.free = 0

    def pause_writing(self) -> None:
        self.full += 1

    def resume_writing(self) -> None:
        self.free += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


Ends = tuple[asyncio.Transport, Writer, socket.socket]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """The transport at one end with its protocol, and the socket at the other; it holds little."""
    loop = asyncio.get_running_loop()
    with listen("127.0.0.1", 0) as listener, socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(listener.getsockname())
        reader.setblocking(False)
        accepted, _ = listener.accept()
        transport, writer = await loop.connect_accepted_socket(Writer, accepted)
        yield transport, writer, reader
        transport.abort()
        await writer.lost.wait()


def held_by_the_kernel(transport: asyncio.Transport) -> int:
    connection = transport.get_extra_info("socket")
    size: int = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    return size


async def test_of_what_goes_on_for_long_little_is_held(
    ends: Ends,
) -> None:
    transport, writer, _ = ends
    wire = WriteMonitor(transport, 20)
    before = held_by_the_kernel(transport), transport.get_write_buffer_limits()
    wire.shrink_buffers()
    assert held_by_the_kernel(transport) <= 2 * SMALL_BUFFER_BYTES
    written = 0
    while not writer.full:
        transport.write(bytes(1_000))
        written += 1_000
    assert written < 64_000
    wire.restore_buffers()
    assert (held_by_the_kernel(transport), transport.get_write_buffer_limits()) == before
    wire.restore_buffers()


async def test_who_has_gone_is_no_trouble(
    ends: Ends,
) -> None:
    transport, writer, _ = ends
    wire = WriteMonitor(transport, 20)
    wire.shrink_buffers()
    transport.abort()
    await writer.lost.wait()
    wire.shrink_buffers()
    wire.restore_buffers()
    wire.stop()


async def test_who_takes_anything_in_time_is_waited_for_again(
    ends: Ends,
) -> None:
    transport, writer, reader = ends
    wire = WriteMonitor(transport, 0.5)
    transport.write(bytes(4_000_000))
    assert writer.full
    wire.start()
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.2
    while loop.time() < end:
        assert await loop.sock_recv(reader, 2048)
        await asyncio.sleep(0.005)
    assert not writer.lost.is_set()
    await writer.lost.wait()  # nobody reads any more


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
async def test_the_kernel_ends_what_is_never_taken_though_there_is_room_to_write(
    ends: Ends,
) -> None:
    transport, writer, _ = ends
    WriteMonitor(transport, 0.5).shrink_buffers()
    while not writer.lost.is_set():  # a little now and then, as events come
        transport.write(bytes(500))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await writer.lost.wait()
    assert not writer.full, "our own buffer was never full"
