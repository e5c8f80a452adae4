"""Accepts connections from a listening socket, several per loop iteration, up to a limit.

uvloop accepts one connection per iteration. Under load an iteration takes milliseconds, so many
clients that connect at once, and a health check behind them, would wait for seconds. At the limit,
and when the process has no descriptors left, the longest idle connection makes room for a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import resource
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from service.server.idle_connections import IdleConnection, IdleConnections

logger = logging.getLogger(__name__)

ACCEPTS_PER_ITERATION = 16
MAX_CONNECTIONS = 10_000  # of some 35 KB each
PAUSE_S = 0.1  # at the limit, if no connection is idle
LOG_INTERVAL_S = 3.0
NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}

Serve = Callable[[socket.socket], Coroutine[Any, Any, None]]


class Acceptor:
    """`connections` has a task for each open connection, which ends when the connection does."""

    def __init__(
        self, serve: Serve, idle: IdleConnections, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        self.connections: set[asyncio.Task[None]] = set()
        self._serve = serve
        self._idle = idle
        self._max_connections = min(
            max_connections, _raise_descriptor_limit() // 2
        )  # the other half is for upstream connections
        self._evicted: set[asyncio.Task[None]] = set()  # closed, and about to end
        self._unlogged_evictions = 0
        self._eviction_log, self._pause_log = LogThrottle(), LogThrottle()
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
            longest_idle = None
            if len(self.connections) - len(self._evicted) >= self._max_connections:
                longest_idle = self._idle.longest()
                if longest_idle is None:
                    self._pause_accepting(listener, f"{self._max_connections} connections are open")
                    return
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as exc:
                if exc.errno not in NO_DESCRIPTORS or not self._free_descriptor():
                    self._pause_accepting(listener, str(exc.strerror))
                return
            if longest_idle is not None:
                self._evict(longest_idle)
            self._serve_connection(connection)

    def _free_descriptor(self) -> bool:
        """Returns whether there will be a free one in the next iteration of the loop."""
        if not self._evicted and (longest_idle := self._idle.longest()) is not None:
            self._evict(longest_idle)
        return bool(self._evicted)

    def _evict(self, connection: IdleConnection) -> None:
        task = connection.abort()
        if task is not None:
            self._evicted.add(task)
            task.add_done_callback(self._evicted.discard)
        self._unlogged_evictions += 1
        if self._eviction_log.is_due():
            logger.warning("closed idle connections to accept others: %d", self._unlogged_evictions)
            self._unlogged_evictions = 0

    def _pause_accepting(self, listener: socket.socket, reason: str) -> None:
        if self._pause_log.is_due():
            logger.warning("accepting no connections for %s s: %s", PAUSE_S, reason)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        self._pause = loop.call_later(PAUSE_S, self.start, listener)

    def _serve_connection(self, connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)


class LogThrottle:
    """Says when to log an event that may occur very often."""

    def __init__(self) -> None:
        self._logged_at = -math.inf

    def is_due(self) -> bool:
        """Whether the last line was logged long enough ago, and a line is logged now."""
        now = asyncio.get_running_loop().time()
        if now < self._logged_at + LOG_INTERVAL_S:
            return False
        self._logged_at = now
        return True


def _raise_descriptor_limit() -> int:
    """Raise the limit on open files as far as useful, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = (
        2 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(2 * MAX_CONNECTIONS, hard)
    )
    if soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    return enough
