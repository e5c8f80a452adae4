"""How long to wait for a slow client, and how much to buffer for it meanwhile.

A client that does not read costs memory and blocks the task that writes to it. While clients read,
nothing here costs anything.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import socket
import struct
import sys
import termios
from dataclasses import dataclass

logger = logging.getLogger(__name__)

CHECKS_PER_STALL = 10  # the kernel still takes some at first, which is no reading
SMALL_BUFFER_BYTES = 16_384  # in our buffer, and requested of the kernel, which doubles it


@dataclass(frozen=True, slots=True)
class SlowClientPolicy:
    """`write_stall_s`: a client that reads nothing for as long is disconnected.

    `ping_interval_s`: a WebSocket client is pinged after as long a silence, and disconnected after
    another one.

    `max_unread_bytes`: what all clients together may leave unread in our buffers. Beyond it, those
    that have stalled for the longest time are disconnected.
    """

    write_stall_s: float = 20.0
    ping_interval_s: float = 20.0
    max_unread_bytes: int = 134_217_728


class UnreadResponses:
    """The connections whose write buffers are full, those of all clients together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._transports: dict[asyncio.Transport, None] = {}  # in the order in which they stalled

    def add(self, transport: asyncio.Transport) -> None:
        """Add a connection; disconnect those that have stalled the longest, if it is too much."""
        self._transports[transport] = None
        sizes = [(each, each.get_write_buffer_size()) for each in self._transports]
        total = sum(size for _, size in sizes)
        for each, size in sizes:
            if total <= self._max_bytes:
                return
            logger.warning("disconnected a client: %d bytes are unread by all clients", total)
            self.discard(each)
            each.abort()
            total -= size

    def discard(self, transport: asyncio.Transport) -> None:
        self._transports.pop(transport, None)


class WriteMonitor:
    """Aborts a connection whose client reads nothing of what was written."""

    def __init__(self, transport: asyncio.Transport, write_stall_s: float) -> None:
        self._transport = transport
        self._write_stall_s = write_stall_s
        self._unread_bytes = 0
        self._stalled_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._default_buffer_bytes = 0

    def start(self) -> None:
        """Start to watch, because the write buffer is above its high-water mark."""
        self._unread_bytes = self._count_unread()
        loop = asyncio.get_running_loop()
        self._stalled_at = loop.time() + self._write_stall_s
        self._timer = loop.call_later(self._write_stall_s / CHECKS_PER_STALL, self._check)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        if self._count_unread() < self._unread_bytes:
            self.start()  # it reads, if slowly
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._stalled_at:
            self._timer = loop.call_later(self._write_stall_s / CHECKS_PER_STALL, self._check)
            return
        logger.info("disconnected a client that read nothing for %g s", self._write_stall_s)
        self._transport.abort()

    def _count_unread(self) -> int:
        """The bytes in our buffer and, where the OS reports them, in the kernel's.

        The kernel's are needed, because it reports progress to us only after it has sent a third
        of its buffer.
        """
        connection = self._transport.get_extra_info("socket")
        try:
            held = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            held = bytes(4)
        return self._transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)

    async def reset(self) -> None:
        """Close with a TCP reset, so that the client cannot take it for the end of a message."""
        if not self._transport.is_closing():
            connection = self._transport.get_extra_info("socket")
            linger = struct.pack("ii", 1, 0)  # on, for 0 s: close sends a reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
            await asyncio.sleep(0)  # until it is closed: a normal close would come first

    def shrink_buffers(self) -> None:
        """For a long response: with small buffers, a client that does not read is soon noticed."""
        if not self._transport.is_closing():
            connection = self._transport.get_extra_info("socket")
            sndbuf = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            self._default_buffer_bytes = sndbuf // 2
            self._set_buffers(SMALL_BUFFER_BYTES, SMALL_BUFFER_BYTES, self._write_stall_s)

    def restore_buffers(self) -> None:
        """Undo `shrink_buffers`, if it was called."""
        if self._default_buffer_bytes and not self._transport.is_closing():
            self._set_buffers(None, self._default_buffer_bytes, 0)
            self._default_buffer_bytes = 0

    def _set_buffers(self, ours: int | None, kernels: int, user_timeout_s: float) -> None:
        """Small writes fit into the kernel's buffer, where only TCP_USER_TIMEOUT watches them."""
        self._transport.set_write_buffer_limits(ours)
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernels)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = math.ceil(user_timeout_s * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
