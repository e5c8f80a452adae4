"""Runs Hypercorn in this process: listens, serves, and on a signal drains and stops.

Hypercorn's own serve loop closes idle connections as soon as it is told to stop, which drops
requests that are on their way. So the loop is ours, with a graceful shutdown in steps:

1. The app drains: /readyz answers 503, and every response has `Connection: close`.
2. The listener is closed; connections in its backlog are accepted and served first.
3. Idle keep-alive connections have a grace period for a last request; then they are closed.
4. Requests in flight have the rest of the drain timeout; the remaining ones are cancelled.
5. The app closes its resources.

A second Ctrl-C skips the waiting in steps 3 and 4.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
from collections.abc import Awaitable, Callable

import uvloop
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.utils import wrap_app
from quart import Quart

from service.app import create_app, running
from service.errors import StartupFailed
from service.lifecycle import Lifecycle
from service.server import malloc
from service.server.acceptor import Acceptor
from service.server.connection import ServerConnection
from service.server.connection_protocol import ConnectionProtocol
from service.server.idle_connections import IdleConnections
from service.server.shedding import LoadShedder
from service.server.slow_clients import SlowClientPolicy, UnreadResponses
from service.server.stop_signals import on_stop_signals
from service.settings import CONFIG_DIR, Settings
from service.startup import log_start
from service.web.metrics.workers import WorkerGroup

logger = logging.getLogger(__name__)

SIBLINGS_GRACE_S = 0.2  # until the signal has reached the supervisor and the other workers
IDLE_GRACE_S = 1.0
CANCEL_GRACE_S = 2.0
CLOSE_GRACE_S = 2.0
PARENT_PIPE = 0


def listen(host: str, port: int) -> socket.socket:
    """Create the listening socket, which all workers share."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=4096)
    except (OSError, TypeError, ValueError) as exc:  # an invalid host raises any of these
        number = getattr(exc, "errno", None) or 0
        reason = os.strerror(number) if number > 0 else "unknown host"
        raise StartupFailed(
            f"PORT, HOST: can't listen on {host} port {port}: {reason}; choose another"
        ) from exc


def address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(
    settings: Settings,
    listener: socket.socket,
    ready_fd: int | None = None,
    *,
    announces: bool = True,
    workers: WorkerGroup | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. A worker also stops when its supervisor has died.

    With `announces`, a log line says what has started. `workers` are those of the supervisor.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        starting = asyncio.current_task()
        assert starting is not None, "main runs as a task"  # noqa: S101
        on_stop_signals(loop, starting.cancel, starting.cancel)  # there is nothing to drain yet

        async def ready() -> None:
            on_stop_signals(loop, stop.set, server.hurry.set)
            if ready_fd is not None:
                loop.add_reader(PARENT_PIPE, _read_parent_pipe, loop, stop, server.hurry)
            if announces:
                policy = app.extensions["cascade.policy"]
                await log_start(
                    settings, app.extensions["cascade"], requires_key=policy.requires_key
                )
            _tell_ready(listener, ready_fd)

        lifecycle = Lifecycle()
        app = create_app(settings, lifecycle, workers=workers)
        server = Server(app, lifecycle, settings.drain_timeout_s)
        async with malloc.trim_periodically():
            await server.serve(listener, stop, ready, shared=ready_fd is not None)

    malloc.tune()
    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(main())


class Server:
    """One app on one socket. To set `hurry` ends a drain at once."""

    def __init__(
        self,
        app: Quart,
        lifecycle: Lifecycle,
        drain_timeout_s: float,
        slow_clients: SlowClientPolicy = SlowClientPolicy(),  # noqa: B008 - it is frozen
    ) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._drain_timeout_s = drain_timeout_s
        self._slow_clients = slow_clients
        self._unread = UnreadResponses(slow_clients.max_unread_bytes)
        self._config = _hypercorn_config()
        self._asgi = wrap_app(app, self._config.wsgi_max_body_size, "asgi")
        self._context = WorkerContext(None)
        self._shedder = LoadShedder(
            app.extensions["cascade.admission"], lifecycle, app.extensions["cascade.requests"]
        )
        self._idle_connections = IdleConnections()
        self._acceptor = Acceptor(self._connected, self._idle_connections)
        self._held: set[ConnectionProtocol] = set()
        self.hurry = asyncio.Event()

    async def serve(
        self,
        listener: socket.socket,
        stop: asyncio.Event,
        ready: Callable[[], Awaitable[None]],
        *,
        shared: bool,
    ) -> None:
        """Open the app, serve until `stop`, drain, close the app."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(running(self._app))
            self._acceptor.start(listener)
            _tune_garbage_collector()
            await ready()
            await stop.wait()

            logger.info("stopping: %d connections are open", len(self._acceptor.connections))
            self._lifecycle.drain()
            if shared:
                await asyncio.sleep(SIBLINGS_GRACE_S)
            self._acceptor.stop(listener)
            await self._drain()
        logger.info("stopped")

    async def _connected(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = ConnectionProtocol(
            reader, self._config, self._shedder, self._held, self._slow_clients, self._unread
        )
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:  # the client closed it before
            connection.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        with contextlib.suppress(asyncio.CancelledError):  # by _drain, or by the connection itself
            await ServerConnection(
                self._asgi,
                self._config,
                self._context,
                reader,
                writer,
                protocol,
                self._idle_connections,
            )

    async def _drain(self) -> None:
        """Close idle connections, wait for requests in flight, and cancel those that remain."""
        for protocol in list(self._held):
            protocol.resume()
        await self._wait(min(IDLE_GRACE_S, self._drain_timeout_s))
        await self._context.terminated.set()
        await self._wait(self._drain_timeout_s - IDLE_GRACE_S)
        if left := self._acceptor.connections:
            logger.warning("cancelling %d requests that did not finish in time", len(left))
            for task in left:
                task.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._until_closed(), CANCEL_GRACE_S)

    async def _wait(self, seconds: float) -> None:
        """Wait until no connection is left, at most for so many seconds and until `hurry`."""
        waiting = {
            asyncio.create_task(self._until_closed()),
            asyncio.create_task(self.hurry.wait()),
        }
        await asyncio.wait(waiting, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    async def _until_closed(self) -> None:
        while self._acceptor.connections:
            await asyncio.wait(self._acceptor.connections)


def _tune_garbage_collector() -> None:
    """Collect less often: a tenth of a request's CPU went into collections that freed nothing."""
    gc.freeze()  # objects from start-up live as long as the process
    gc.set_threshold(20_000, 20, 20)


def _hypercorn_config() -> Config:
    path = CONFIG_DIR / "hypercorn.toml"
    try:
        config = Config.from_toml(path)
    except (OSError, ValueError, TypeError) as exc:
        raise StartupFailed(f"config/hypercorn.toml can't be used: {exc}") from None
    config.errorlog = logging.getLogger("hypercorn.error")
    return config


def _tell_ready(listener: socket.socket, ready_fd: int | None) -> None:
    if ready_fd is None:
        logger.info("serving on %s (documentation at /api/docs)", address(listener))
    else:
        os.write(ready_fd, b"r")


def _read_parent_pipe(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event, hurry: asyncio.Event
) -> None:
    """Stop when the supervisor has died, which is the end of the pipe; a byte means to hurry."""
    if os.read(PARENT_PIPE, 1):
        hurry.set()
    else:
        loop.remove_reader(PARENT_PIPE)
        stop.set()
