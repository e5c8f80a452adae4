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
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)

AT_ONCE = 16
MOST = 10_000  # of some 35 KB each
PAUSE_S = 0.5  # where there is no room for one more

Serve = Callable[[socket.socket], Coroutine[Any, Any, None]]


class Acceptor:
    """`connections` are those that are open, each a task that is over when it is closed."""

    def __init__(self, serve: Serve, most: int = MOST) -> None:
        self.connections: set[asyncio.Task[None]] = set()
        self._serve = serve
        self._most = min(most, _descriptors() // 2)  # the others are for what we ask upstream
        self._pause: asyncio.TimerHandle | None = None

    def start(self, listener: socket.socket) -> None:
        """Accept from now on."""
        listener.setblocking(False)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def stop(self, listener: socket.socket) -> None:
        """Accept nobody any more but those who are in the kernel's queue already."""
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(listener)
        with listener, contextlib.suppress(OSError):
            while True:
                self._take(listener.accept()[0])

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(AT_ONCE):
            if len(self.connections) >= self._most:
                self._rest(listener, f"{self._most} are open")
                return
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as exc:
                self._rest(listener, str(exc.strerror))
                return
            self._take(connection)

    def _rest(self, listener: socket.socket, reason: str) -> None:
        logger.warning("no connection is accepted for %s s: %s", PAUSE_S, reason)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        self._pause = loop.call_later(PAUSE_S, self.start, listener)

    def _take(self, connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)


def _descriptors() -> int:
    """How many files the process may have open, which is made as many as are of use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 2 * MOST if hard == resource.RLIM_INFINITY else min(2 * MOST, hard)
    if soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    return enough
