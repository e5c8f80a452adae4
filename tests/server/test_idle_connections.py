"""The longest idle connection is closed first, and never one that may be about to be used."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from service.server.idle_connections import MIN_IDLE_S, IdleConnection, IdleConnections


@dataclass(eq=False)
class FakeConnection:
    """A connection that has been idle since a time of the event loop."""

    idle_since: float
    is_quiet: bool = True

    def abort(self) -> asyncio.Task[None] | None:
        return None


def add(idle: IdleConnections, idle_s: float, *, is_quiet: bool = True) -> FakeConnection:
    connection = FakeConnection(asyncio.get_running_loop().time() - idle_s, is_quiet)
    idle.add(connection)
    return connection


def take_all(idle: IdleConnections) -> list[IdleConnection]:
    """All connections, in the order in which they are to be closed."""
    taken = []
    while (connection := idle.longest()) is not None:
        idle.discard(connection)
        taken.append(connection)
    return taken


async def test_longest_is_connection_that_became_idle_first() -> None:
    idle = IdleConnections()
    connections = [add(idle, seconds) for seconds in (60, 50, 40)]
    assert idle.longest() is idle.longest() is connections[0]
    idle.discard(connections[1])  # it has a request
    assert take_all(idle) == [connections[0], connections[2]]


async def test_longest_is_none_if_connection_has_just_become_idle() -> None:
    idle = IdleConnections()
    assert idle.longest() is None
    young = add(idle, -MIN_IDLE_S)
    assert idle.longest() is None
    idle.discard(young)
    idle.discard(young)
    assert len(idle) == 0


async def test_longest_passes_over_connection_with_half_a_request_once() -> None:
    idle = IdleConnections()
    half, other = add(idle, 60, is_quiet=False), add(idle, 50, is_quiet=False)
    quiet = add(idle, 40)
    assert take_all(idle) == [quiet, half, other]
