"""The asyncio protocol of a server connection, which can reject requests before they are parsed.

While the service is full, a rejection here costs a small part of what it costs behind HTTP parsing
and ASGI, and it does not wait for a task to run. A client that ignores `Retry-After` is throttled:
its next request on the same connection is held back for up to `MAX_HOLD_S` (docs/decisions/0013).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from hypercorn.config import Config

from service.server.shedding import LoadShedder, PlainRequest, Rejection
from service.server.slow_clients import SlowClientPolicy, UnreadResponses, WriteMonitor

MAX_HOLD_S = 5.0


class ConnectionProtocol(asyncio.StreamReaderProtocol):
    """Passes to the stream reader what it does not reject.

    `is_idle`, given the number of bytes passed on so far, says whether all requests in them are
    answered. `held` has the connections that hold back a request.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        config: Config,
        shedder: LoadShedder,
        held: set[ConnectionProtocol],
        slow_clients: SlowClientPolicy,
        unread: UnreadResponses,
    ) -> None:
        super().__init__(reader)
        self.slow_clients = slow_clients
        self._unread = unread
        self.is_idle: Callable[[int], bool] = _is_untouched
        self.rejected_at = 0.0
        self._passed_on = 0  # bytes
        self._config = config
        self._shedder = shedder
        self._held = held
        self._held_data = b""
        self._hold_until = 0.0
        self._hold_timer: asyncio.TimerHandle | None = None
        self._now = asyncio.get_running_loop().time

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.writes = WriteMonitor(self._transport, self.slow_clients.write_stall_s)
        super().connection_made(transport)

    @property
    def is_quiet(self) -> bool:
        """Whether no part of a request has arrived, and all responses are sent."""
        has_received = self._held_data or not self.is_idle(self._passed_on)
        return not has_received and not self._transport.get_write_buffer_size()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.writes.start()
        self._unread.add(self._transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.writes.stop()
        self._unread.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        if self.is_idle(self._passed_on) and not self._transport.get_write_buffer_size():
            request = self._shedder.match(data)
            if request is not None:
                self.rejected_at = self._now()
                if self.rejected_at < self._hold_until:
                    self._hold(data)
                else:
                    self._reject(request)
                return
        self._passed_on += len(data)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._take_held()
        self.writes.stop()
        self._unread.discard(self._transport)
        super().connection_lost(_as_connection_error(exc))

    def release(self) -> None:
        """Refer to no HTTP parser any more, because the connection is closed."""
        self.is_idle = _is_untouched

    def resume(self) -> None:
        """Process the request that was held back."""
        data = self._take_held()
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self.data_received(data)

    def _reject(self, request: PlainRequest) -> None:
        rejected = self._shedder.reject(request)
        self._hold_until = self._now() + min(rejected.hold_s, MAX_HOLD_S)
        self._transport.write(_serialized(rejected, self._config))

    def _hold(self, data: bytes) -> None:
        self._held_data = data
        self._transport.pause_reading()
        self._held.add(self)
        seconds = self._hold_until - self._now()
        self._hold_timer = asyncio.get_running_loop().call_later(seconds, self.resume)

    def _take_held(self) -> bytes:
        data, self._held_data = self._held_data, b""
        self._hold_until = 0.0
        self._held.discard(self)
        if self._hold_timer is not None:
            self._hold_timer.cancel()
        return data


def _as_connection_error(exc: Exception | None) -> Exception | None:
    """Make an ETIMEDOUT or EHOSTUNREACH of the kernel a ConnectionError, as writers expect."""
    if isinstance(exc, OSError) and not isinstance(exc, ConnectionError):
        return ConnectionResetError(exc.errno, exc.strerror)
    return exc


def _is_untouched(passed_on: int) -> bool:
    """`is_idle` of a connection on which no HTTP parser has been set up yet."""
    return not passed_on


def _serialized(rejected: Rejection, config: Config) -> bytes:
    named = [(name.encode(), value.encode()) for name, value in rejected.headers.items()]
    lines = [b"%s: %s\r\n" % line for line in named + config.response_headers("h11")]
    return b"HTTP/1.1 503 \r\n" + b"".join(lines) + b"\r\n" + rejected.body
