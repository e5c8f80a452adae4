"""Serves the service on a real port within the process of the test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from service.app import create_app, running
from service.lifecycle import Lifecycle
from service.server.process import Server, address, listen
from service.server.slow_clients import SlowClientPolicy
from service.settings import Settings

DEFAULT_POLICY = SlowClientPolicy()


@contextlib.asynccontextmanager
async def serving_in_process(
    settings: Settings, slow_clients: SlowClientPolicy = DEFAULT_POLICY
) -> AsyncIterator[tuple[str, Server]]:
    """Yields the address and the server; checks that no connection is left afterwards."""
    lifecycle = Lifecycle()
    with listen("127.0.0.1", 0) as listener:
        url = address(listener)
        async with running(create_app(settings, lifecycle)) as app:
            server = Server(app, lifecycle, 5, slow_clients)
            server._acceptor.start(listener)
            try:
                yield url, server
            finally:
                lifecycle.drain()
                server._acceptor.stop(listener)
                await server._drain()
            assert not server._acceptor.connections
