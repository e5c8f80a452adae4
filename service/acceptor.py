"""Takes connections off a listening socket: several in a round, and no more than there is room for.

uvloop takes one in each round of its event loop. Under load a round takes milliseconds; whoever
connects in a crowd, or behind one to ask whether the process lives, would wait for seconds. Knows
nothing of what is said over a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

AT_ONCE = 16
MOST = 10_000  # each takes some 35 KB
PAUSE_S = 0.5  # after the system has refused us one

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Acceptor:
    """`tasks` are the connections, from accept to close."""

    def __init__(self, serve: Serve) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._serve = serve
        self._most = min(MOST, _descriptors() // 2)  # the others are for what we ask upstream
        self._listener: socket.socket | None = None
        self._pause: asyncio.TimerHandle | None = None

    def start(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._listen()

    def stop(self) -> None:
        """Take no more, but for those who are in the kernel's queue already."""
        listener, self._listener = self._listener, None
        assert listener is not None, "it was started"  # noqa: S101
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(listener)
        with listener, contextlib.suppress(OSError):
            while True:
                self._take(listener.accept()[0])

    def _listen(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(AT_ONCE):
            if len(self.tasks) >= self._most:
                logger.warning("%d connections are open: the next ones have to wait", self._most)
                asyncio.get_running_loop().remove_reader(listener)
                return
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as exc:
                logger.error("no connection can be accepted: %s", exc.strerror)
                asyncio.get_running_loop().remove_reader(listener)
                self._pause = asyncio.get_running_loop().call_later(PAUSE_S, self._listen)
                return
            self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._connected(connection))
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        full = len(self.tasks) >= self._most
        self.tasks.discard(task)
        if full and self._pause is None: 
            self._listen()

    async def _connected(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:  # it was gone already
            connection.close()
            return
        await self._serve(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


def _descriptors() -> int:
    """How many files the process may have open: as many as the system lets it have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
