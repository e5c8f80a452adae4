"""Accepts connections from a listening socket, several per loop iteration, up to a limit.

uvloop accepts one connection per iteration. Under load an iteration takes milliseconds, so many
clients that connect at once, and a health check behind them, would wait for seconds.
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

ACCEPTS_PER_ITERATION = 16
MAX_CONNECTIONS = 10_000  # of some 35 KB each
PAUSE_S = 0.5  # at the limit

Serve = Callable[[socket.socket], Coroutine[Any, Any, None]]


class Acceptor:
    """`connections` has a task for each open connection, which ends when the connection does."""

    def __init__(self, serve: Serve, max_connections: int = MAX_CONNECTIONS) -> None:
        self.connections: set[asyncio.Task[None]] = set()
        self._serve = serve
        self._max_connections = min(
            max_connections, _raise_descriptor_limit() // 2
        )  # the other half is for upstream connections
        self._pause: asyncio.TimerHandle | None = None

    def start(self, listener: socket.socket) -> None:
        """Start to accept."""
        listener.setblocking(False)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def stop(self, listener: socket.socket) -> None:
        """Accept what is in the backlog already, and close the listener."""
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(listener)
        with listener, contextlib.suppress(OSError):
            while True:
                self._serve_connection(listener.accept()[0])

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_ITERATION):
            if len(self.connections) >= self._max_connections:
                self._pause_accepting(listener, f"{self._max_connections} connections are open")
                return
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as exc:
                self._pause_accepting(listener, str(exc.strerror))
                return
            self._serve_connection(connection)

    def _pause_accepting(self, listener: socket.socket, reason: str) -> None:
        logger.warning("accepting no connections for %s s: %s", PAUSE_S, reason)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        self._pause = loop.call_later(PAUSE_S, self.start, listener)

    def _serve_connection(self, connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)


def _raise_descriptor_limit() -> int:
    """Raise the limit on open files as far as useful, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = (
        2 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(2 * MAX_CONNECTIONS, hard)
    )
    if soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    return enough
