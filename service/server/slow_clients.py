"""How long a client is waited for, and how much is held for it meanwhile.

Somebody who does not read what was written costs memory, and keeps whoever writes waiting. Nothing
of this costs anything while clients read. Knows nothing of what is written.
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

NARROW_BYTES = 16_384  # in our buffer; the kernel, which is asked for as much, takes the double


@dataclass(frozen=True, slots=True)
class SlowClientPolicy:
    """In seconds: until a client has taken any of what was written, and until it says anything."""

    unread_s: float = 20.0
    silent_s: float = 20.0


class WriteMonitor:
    """The way to one client. Whoever takes nothing of what was written is cut off."""

    def __init__(self, transport: asyncio.Transport, unread_s: float) -> None:
        self._transport = transport
        self._unread_s = unread_s
        self._unread = 0  # bytes
        self._timer: asyncio.TimerHandle | None = None
        self._wide = 0

    def wait_for_reader(self) -> None:
        """There is more in the buffer than there should be."""
        self._unread = self._count()
        self._timer = asyncio.get_running_loop().call_later(self._unread_s, self._look)

    def stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._count() < self._unread:
            self.wait_for_reader()  # it reads, if slowly
            return
        logger.info("a client has read nothing for %g s, and is cut off", self._unread_s)
        self._transport.abort()

    def _count(self) -> int:
        """Bytes that the client has not taken: ours, and those that the kernel has, where it tells.

        From the kernel alone we hear only when it has sent a third of what it holds.
        """
        connection = self._transport.get_extra_info("socket")
        try:
            held = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            held = bytes(4)
        return self._transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)

    async def reset(self) -> None:
        """End the connection so that nobody takes it for the end of a message."""
        if not self._transport.is_closing():
            connection = self._transport.get_extra_info("socket")
            linger = struct.pack("ii", 1, 0)  # not at all
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
            await asyncio.sleep(0)  # until it is: whoever closes it now would end it politely

    def narrow(self) -> None:
        """For what goes on for long: hold little, so that it is seen soon that nobody reads."""
        if not self._transport.is_closing():
            connection = self._transport.get_extra_info("socket")
            self._wide = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2
            self._hold(NARROW_BYTES, NARROW_BYTES, self._unread_s)

    def widen(self) -> None:
        """As it was before; it makes no difference where it was never narrow."""
        if self._wide and not self._transport.is_closing():
            self._hold(None, self._wide, 0)
            self._wide = 0

    def _hold(self, ours: int | None, kernels: int, unread_s: float) -> None:
        """Little that is written waits in the kernel alone, so it has to end what is not taken."""
        self._transport.set_write_buffer_limits(ours)
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernels)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = math.ceil(unread_s * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
