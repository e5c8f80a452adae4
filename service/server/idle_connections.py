"""The connections that wait for a request, from which the longest-waiting one can be closed.

A server that is out of descriptors, or at its limit of connections, would otherwise answer nobody
until idle clients run into the keep-alive timeout. Closing an idle connection is always allowed:
a client has to expect it (RFC 9112, 9.5).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Protocol

MIN_IDLE_S = 0.1  # a request that follows a connect, or another request, is here by then


class IdleConnection(Protocol):
    """A connection without a request in work."""

    @property
    def idle_since(self) -> float:
        """The time of the event loop at which it became idle."""

    @property
    def is_quiet(self) -> bool:
        """Whether no part of a request has arrived, and all responses are sent."""

    def abort(self) -> asyncio.Task[None] | None:
        """Close it now, and discard it here; returns its task, which ends soon."""


class IdleConnections:
    """The idle connections of a server, in the order in which they became idle.

    The head of a request may have arrived in part, or the end of a response may be unread. Such a
    connection is passed over once, so that those that do nothing at all are closed first.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[IdleConnection, bool] = OrderedDict()  # passed over already?

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, connection: IdleConnection) -> None:
        self._waiting[connection] = False

    def discard(self, connection: IdleConnection) -> None:
        self._waiting.pop(connection, None)

    def longest(self) -> IdleConnection | None:
        """The connection to close first; None if none has been idle for `MIN_IDLE_S`."""
        idle_before = asyncio.get_running_loop().time() - MIN_IDLE_S
        while self._waiting:
            connection, was_passed_over = next(iter(self._waiting.items()))
            if connection.idle_since > idle_before:
                return None
            if was_passed_over or connection.is_quiet:
                return connection
            self._waiting[connection] = True
            self._waiting.move_to_end(connection)
        return None
