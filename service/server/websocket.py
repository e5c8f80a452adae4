"""Hypercorn's WebSocket stream, with keep-alive pings and stricter closing.

- There is no compression: a compressed message can expand a thousandfold, and a compressor takes
  ten times the memory of the rest of a connection.
- A disconnect is reported to the application at once, in place of messages that are still queued.
- A message that is too large or invalid closes the WebSocket with a code that says so. The server
  then waits a moment for the client's close: on unread data the kernel would send a reset instead.
- A client that does not answer a ping is disconnected.

As in `http1.py`, methods are overridden that Hypercorn does not document.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from hypercorn.protocol.events import Body, Data, Event, StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, WSStream
from hypercorn.typing import ASGISendEvent, WebsocketAcceptEvent
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason

from service.server.slow_clients import SlowClientPolicy

logger = logging.getLogger(__name__)

CLOSE_HANDSHAKE_TIMEOUT_S = 1.0


class WebSocketStream(WSStream):
    """One WebSocket, from the handshake to the close."""

    def __init__(self, *args: Any, slow_clients: SlowClientPolicy) -> None:
        super().__init__(*args)
        self._slow_clients = slow_clients
        self._received = 0
        self._closed = asyncio.Event()
        self._closed_by_us = False

    async def handle(self, event: Event) -> None:
        if isinstance(event, (Body, Data)):
            await self._receive(event)
        elif isinstance(event, StreamClosed):
            self._end(CloseReason.ABNORMAL_CLOSURE)
        else:
            await super().handle(event)
            if self.closed:  # the handshake was invalid, and is answered
                await self.send(StreamClosed(stream_id=self.stream_id))

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if self._closed_by_us:
            if message is not None:
                return  # the application has not received the disconnect yet
            await self._wait_closed(CLOSE_HANDSHAKE_TIMEOUT_S)
        await super().app_send(message)

    async def _accept(self, message: WebsocketAcceptEvent) -> None:
        self.handshake.extensions = None
        await super()._accept(message)
        self.task_group.spawn(self._keep_alive)

    async def _receive(self, event: Body | Data) -> None:
        self._received += 1
        if self.closed:
            return
        if not self.handshake.accepted:  # data before the handshake is complete
            if self.state is ASGIWebsocketState.HANDSHAKE:
                await self._send_error_response(400)
            await self.send(StreamClosed(stream_id=self.stream_id))
        elif self.connection.state is not ConnectionState.CLOSED:
            self.connection.receive_data(event.data)
            await self._handle_events()

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, CloseConnection):
                await self._receive_close(event)
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, Message) and self._is_receiving:
                await self._receive_message(event)

    @property
    def _is_receiving(self) -> bool:
        """Whether the application still receives messages."""
        return self.state is ASGIWebsocketState.CONNECTED and not self.closed

    async def _receive_message(self, event: Message[Any]) -> None:
        try:
            self.buffer.extend(event)
        except FrameTooLargeError:
            max_size = self.config.websocket_max_message_size
            await self._close_with(CloseReason.MESSAGE_TOO_BIG, f"at most {max_size} characters")
            return
        if event.message_finished and self.app_put is not None:
            message = self.buffer.to_message()
            self.buffer.clear()
            await self.app_put(message)

    async def _receive_close(self, event: CloseConnection) -> None:
        if (
            self.connection.state is ConnectionState.OPEN
        ):  # wsproto reports an invalid frame, not a close
            await self._close_with(event.code, "this is not a valid WebSocket message")
            return
        if self.connection.state is ConnectionState.REMOTE_CLOSING:
            await self._send_wsproto_event(event.response())
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _close_with(self, code: int, reason: str) -> None:
        """Close with a code, and report a disconnect to the application."""
        self._closed_by_us = True
        self.state = ASGIWebsocketState.CLOSED
        self.buffer.clear()
        await self._send_wsproto_event(CloseConnection(code=code, reason=reason))
        self._report_disconnect(code)

    def _end(self, code: int) -> None:
        """The client has gone."""
        if not self.closed:
            self.closed = True
            self._closed.set()
            self._report_disconnect(code)

    def _report_disconnect(self, code: int) -> None:
        """Replace the messages that the application has not received by a disconnect.

        Waiting until it has received them could be a deadlock: it may be waiting for us.
        """
        if self.app_put is None:
            return
        queue: asyncio.Queue[Any] = self.app_put.__self__  # type: ignore[attr-defined]
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait({"type": "websocket.disconnect", "code": code})

    async def _keep_alive(self) -> None:
        """Ping the client after a silence, and disconnect it if it does not answer."""
        seen = -1
        while not await self._wait_closed(self._slow_clients.ping_interval_s):
            if self._received == seen:
                logger.info("disconnected a WebSocket client that did not answer a ping")
                await self.send(StreamClosed(stream_id=self.stream_id))
                return
            seen = self._received
            await self._send_wsproto_event(Ping())

    async def _wait_closed(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        return self._closed.is_set()
