"""What is received over a connection, before HTTP is made of it.

While the service is full, a request can be refused right here: then that costs a small part of an
answer, and does not wait for its turn in the event loop. Whoever was refused, comes back sooner
than it was told, and would be refused again, is left waiting for a while. Knows nothing of why
anything is refused, nor of HTTP beyond how an answer is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from hypercorn.config import Config

from service.server.shedding import LoadShedder, Rejection, RequestHeaders
from service.server.slow_clients import SlowClientPolicy, WriteMonitor

LONGEST_S = 5.0  # that somebody who came too early has to wait


class ConnectionProtocol(asyncio.StreamReaderProtocol):
    """Passes on to the reader what is not refused.

    `early` holds those who have come too early, of all connections, while they wait.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        config: Config,
        shedder: LoadShedder,
        early: set[ConnectionProtocol],
        patience: SlowClientPolicy,
    ) -> None:
        super().__init__(reader)
        self.patience = patience
        self.passed_on = 0  # bytes
        self.is_answered: Callable[[int], bool] = _nothing
        self.heard_at = 0.0
        self._config = config
        self._shedder = shedder
        self._early = early
        self._early_until = 0.0
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None
        self._now = asyncio.get_running_loop().time

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.wire = WriteMonitor(self._transport, self.patience.unread_s)
        super().connection_made(transport)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.wire.wait_for_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.wire.stop_waiting()

    def data_received(self, data: bytes) -> None:
        if self.is_answered(self.passed_on) and not self._transport.get_write_buffer_size():
            given = self._shedder.refusable(data)
            if given is not None:
                self.heard_at = self._now()
                if self.heard_at < self._early_until:
                    self._hold(data)
                else:
                    self._refuse(given)
                return
        self.passed_on += len(data)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._release()
        self.wire.stop_waiting()
        super().connection_lost(_as_gone(exc))

    def hear(self) -> None:
        """It is time for what was held back."""
        held = self._release()
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self.data_received(held)

    def _refuse(self, given: RequestHeaders) -> None:
        shed = self._shedder.refuse(given)
        self._early_until = self._now() + min(shed.too_early_s, LONGEST_S)
        self._transport.write(_serialized(shed, self._config))

    def _hold(self, data: bytes) -> None:
        self._held = data
        self._transport.pause_reading()
        self._early.add(self)
        seconds = self._early_until - self._now()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.hear)

    def _release(self) -> bytes:
        held, self._held = self._held, b""
        self._early_until = 0.0
        self._early.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        return held


def _as_gone(exc: Exception | None) -> Exception | None:
    """A client that the kernel gave up, or can't reach any more, is gone as one that hung up is.

    Whoever writes to it foresees a ConnectionError alone.
    """
    if isinstance(exc, OSError) and not isinstance(exc, ConnectionError):
        return ConnectionResetError(exc.errno, exc.strerror)
    return exc


def _nothing(passed_on: int) -> bool:
    """Whether all is answered, where nobody has begun to answer."""
    return not passed_on


def _serialized(shed: Rejection, config: Config) -> bytes:
    named = [(name.encode(), value.encode()) for name, value in shed.headers.items()]
    lines = [b"%s: %s\r\n" % line for line in named + config.response_headers("h11")]
    return b"HTTP/1.1 503 \r\n" + b"".join(lines) + b"\r\n" + shed.body
