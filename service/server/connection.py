"""One HTTP connection: Hypercorn's, ended when its client hangs up or stops reading.

It overrides methods that Hypercorn does not document, as `http1.py` does.
"""

from __future__ import annotations

import asyncio
import contextlib

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Event
from hypercorn.typing import AppWrapper, LifespanState

from service.server.connection_protocol import ConnectionProtocol
from service.server.http1 import StrictH11
from service.server.idle_connections import IdleConnections

CLOSE_TIMEOUT_S = 5.0


class ServerConnection(TCPServer):
    """One connection, from accept to close. It is in `idle_connections` while it has no request."""

    idle_since = 0.0
    _task: asyncio.Task[None] | None = None
    _abort_timer: asyncio.TimerHandle | None = None
    _is_half_closed = False

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stream: ConnectionProtocol,
        idle_connections: IdleConnections,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(app, loop, config, context, LifespanState({}), reader, writer)
        self._stream = stream
        self._idle_connections = idle_connections

    @property
    def is_quiet(self) -> bool:
        return self._stream.is_quiet

    def abort(self) -> asyncio.Task[None] | None:
        """Close it without a wait; returns its task, which ends soon."""
        self._idle_connections.discard(self)
        self.writer.transport.abort()
        return self._task

    async def run(self) -> None:
        self._task = asyncio.current_task()
        try:
            await super().run()
        finally:
            if self._abort_timer is not None:
                self._abort_timer.cancel()
            self._break_reference_cycles()

    def _break_reference_cycles(self) -> None:
        """Free the memory at once: the garbage collector looks at what is old very rarely."""
        self._stream.release()
        self._task = None
        if hasattr(self, "protocol"):  # not if the client was gone at once
            self.protocol.send = self.protocol.protocol.send = _discard

    async def _read_data(self) -> None:
        default = self.protocol.protocol
        self.protocol.protocol = http = StrictH11(
            default.app,
            default.config,
            default.context,
            default.task_group,
            default.connection_state,
            default.ssl,
            default.client,
            default.server,
            default.send,
        )
        http.writes, http.slow_clients = self._stream.writes, self._stream.slow_clients
        self._stream.is_idle = http.is_idle
        await super()._read_data()
        self._is_half_closed = True  # the client sends no more, so the keep-alive timer may end
        await self.idle_task.stop()

    async def _idle_timeout(self) -> None:
        self.idle_since = self.loop.time()
        self._idle_connections.add(self)
        try:
            await self._wait_for_timeout()
        finally:
            self._idle_connections.discard(self)
        await asyncio.shield(self._initiate_server_close())

    async def _wait_for_timeout(self) -> None:
        """Return when the connection has been idle for too long, or the server stops."""
        while not self._is_half_closed:
            rejected_at = self._stream.rejected_at
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.keep_alive_timeout):
                    await self.context.terminated.wait()
            if self._stream.rejected_at == rejected_at or self.context.terminated.is_set():
                break

    async def _close(self) -> None:
        """Close with a timeout: a client that does not read would keep the connection open."""
        if self._abort_timer is None:
            self._abort_timer = self.loop.call_later(CLOSE_TIMEOUT_S, self._abort)
        await super()._close()

    def _abort(self) -> None:
        if (task := self.abort()) is not None:
            task.cancel()


async def _discard(event: Event) -> None:
    """Send nothing, because the connection is closed."""
