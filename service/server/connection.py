"""Hypercorn's connection, which ends when its client has hung up, or does not read what comes.

Knows nothing of what is spoken over it: that is http1.py. As there, methods are overridden that are
not documented.
"""

from __future__ import annotations

import asyncio
import contextlib

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import AppWrapper, LifespanState

from service.server.connection_protocol import ConnectionProtocol
from service.server.http1 import StrictH11

CLOSE_GRACE_S = 5.0


class ServerConnection(TCPServer):
    """One connection, from accept to close."""

    _abort: asyncio.TimerHandle | None = None
    _all_read = False

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        receiver: ConnectionProtocol,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(app, loop, config, context, LifespanState({}), reader, writer)
        self._receiver = receiver

    async def run(self) -> None:
        self._task = asyncio.current_task()
        try:
            await super().run()
        finally:
            if self._abort is not None:
                self._abort.cancel()

    async def _read_data(self) -> None:
        made = self.protocol.protocol
        self.protocol.protocol = strict = StrictH11(
            made.app,
            made.config,
            made.context,
            made.task_group,
            made.connection_state,
            made.ssl,
            made.client,
            made.server,
            made.send,
        )
        strict.wire, strict.patience = self._receiver.wire, self._receiver.patience
        self._receiver.is_answered = strict.has_answered
        await super()._read_data()
        self._all_read = True  # nothing more will come: there is nothing to wait for
        await self.idle_task.stop()

    async def _idle_timeout(self) -> None:
        while not self._all_read:
            heard_at = self._receiver.heard_at
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.keep_alive_timeout):
                    await self.context.terminated.wait()
            if self._receiver.heard_at == heard_at or self.context.terminated.is_set():
                break
        await asyncio.shield(self._initiate_server_close())

    async def _close(self) -> None:
        """Close, but not for ever: a client that does not read would keep us here."""
        if self._abort is None:
            self._abort = self.loop.call_later(CLOSE_GRACE_S, self._hang_up)
        await super()._close()

    def _hang_up(self) -> None:
        self.writer.transport.abort()
        if self._task is not None:
            self._task.cancel()
