"""How much is buffered for a client that does not read, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from service.server.process import listen
from service.server.slow_clients import SMALL_BUFFER_BYTES, UnreadResponses, WriteMonitor


class WriterProtocol(asyncio.Protocol):
    """Counts how often its transport pauses and resumes writing."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.paused = self.resumed = 0

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.resumed += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


ConnectionPair = tuple[asyncio.Transport, WriterProtocol, socket.socket]


@pytest.fixture
async def connection_pair() -> AsyncIterator[ConnectionPair]:
    """The server's transport with its protocol, and the client's socket with a small buffer."""
    loop = asyncio.get_running_loop()
    with listen("127.0.0.1", 0) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        client.setblocking(False)
        accepted, _ = listener.accept()
        transport, writer = await loop.connect_accepted_socket(WriterProtocol, accepted)
        yield transport, writer, client
        transport.abort()
        await writer.lost.wait()


def kernel_buffer_bytes(transport: asyncio.Transport) -> int:
    connection = transport.get_extra_info("socket")
    size: int = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    return size


async def test_shrunk_buffers_hold_little_until_restored(
    connection_pair: ConnectionPair,
) -> None:
    transport, writer, _ = connection_pair
    monitor = WriteMonitor(transport, 20)
    before = kernel_buffer_bytes(transport), transport.get_write_buffer_limits()
    monitor.shrink_buffers()
    assert kernel_buffer_bytes(transport) <= 2 * SMALL_BUFFER_BYTES
    written = 0
    while not writer.paused:
        transport.write(bytes(1_000))
        written += 1_000
    assert written < 64_000
    monitor.restore_buffers()
    assert (kernel_buffer_bytes(transport), transport.get_write_buffer_limits()) == before
    monitor.restore_buffers()


async def test_monitor_methods_have_no_effect_after_disconnect(
    connection_pair: ConnectionPair,
) -> None:
    transport, writer, _ = connection_pair
    monitor = WriteMonitor(transport, 20)
    monitor.shrink_buffers()
    transport.abort()
    await writer.lost.wait()
    monitor.shrink_buffers()
    monitor.restore_buffers()
    monitor.stop()


async def test_stall_timeout_restarts_when_client_reads(
    connection_pair: ConnectionPair,
) -> None:
    transport, writer, client = connection_pair
    monitor = WriteMonitor(transport, 0.5)
    transport.write(bytes(4_000_000))
    assert writer.paused
    monitor.start()
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.2
    while loop.time() < end:
        assert await loop.sock_recv(client, 2048)
        await asyncio.sleep(0.005)
    assert not writer.lost.is_set()
    await writer.lost.wait()  # the client reads no more


async def test_longest_stalled_connection_is_closed_when_unread_bytes_are_too_many(
    connection_pair: ConnectionPair,
) -> None:
    transport, writer, _ = connection_pair
    transport.write(bytes(8_000_000))
    unread = UnreadResponses(transport.get_write_buffer_size())
    unread.add(transport)
    assert not transport.is_closing()
    with listen("127.0.0.1", 0) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        loop = asyncio.get_running_loop()
        other, closed = await loop.connect_accepted_socket(WriterProtocol, accepted)
        other.write(bytes(8_000_000))
        unread.add(other)
        await writer.lost.wait()
        assert not other.is_closing()
        other.abort()
        await closed.lost.wait()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
async def test_kernel_disconnects_unread_connection_with_shrunk_buffers(
    connection_pair: ConnectionPair,
) -> None:
    transport, writer, _ = connection_pair
    WriteMonitor(transport, 0.5).shrink_buffers()
    while not writer.lost.is_set():  # small events, one at a time
        transport.write(bytes(500))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await writer.lost.wait()
    assert not writer.paused, "the transport's own buffer was full"
