"""A WebSocket on one of our connections: Hypercorn's, with some things of our own.

- Nothing is compressed. What came compressed could become a thousand times as large, and a
  compressor takes ten times the memory of all else that a connection needs.
- A client that goes does not have to wait until the application has heard all that it said.
- A message that is too large, or is none at all, ends it with a code that says so, and the
  application hears of it. Whoever closes waits a moment for the other side to do so, too: what is
  still on its way would make the kernel throw away the close.
- Whoever does not answer a ping, nor says anything else, is let go.

Knows nothing of what messages say. As in http1.py, methods are overridden that are not documented.
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

GOODBYE_S = 1.0


class WebSocketStream(WSStream):
    """One WebSocket, from the handshake to the close."""

    def __init__(self, *args: Any, patience: SlowClientPolicy) -> None:
        super().__init__(*args)
        self._patience = patience
        self._heard = 0
        self._over = asyncio.Event()
        self._gave_up = False

    async def handle(self, event: Event) -> None:
        if isinstance(event, (Body, Data)):
            await self._hear(event)
        elif isinstance(event, StreamClosed):
            self._end(CloseReason.ABNORMAL_CLOSURE)
        else:
            await super().handle(event)
            if self.closed:  # it was no handshake, and is answered
                await self.send(StreamClosed(stream_id=self.stream_id))

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if message is None and self._gave_up:
            await self._over_within(GOODBYE_S)
        await super().app_send(message)

    async def _accept(self, message: WebsocketAcceptEvent) -> None:
        self.handshake.extensions = None
        await super()._accept(message)
        self.task_group.spawn(self._look_after)

    async def _hear(self, event: Body | Data) -> None:
        self._heard += 1
        if self.closed:
            return
        if not self.handshake.accepted:  # nobody may speak before
            if self.state is ASGIWebsocketState.HANDSHAKE:
                await self._send_error_response(400)
            await self.send(StreamClosed(stream_id=self.stream_id))
        elif self.connection.state is not ConnectionState.CLOSED:
            self.connection.receive_data(event.data)
            await self._handle_events()

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, CloseConnection):
                await self._hear_close(event)
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, Message) and self._is_heard:
                await self._hear_message(event)

    @property
    def _is_heard(self) -> bool:
        """Whether the application still listens."""
        return self.state is ASGIWebsocketState.CONNECTED and not self.closed

    async def _hear_message(self, event: Message[Any]) -> None:
        try:
            self.buffer.extend(event)
        except FrameTooLargeError:
            most = self.config.websocket_max_message_size
            await self._give_up(CloseReason.MESSAGE_TOO_BIG, f"at most {most} characters")
            return
        if event.message_finished and self.app_put is not None:
            message = self.buffer.to_message()
            self.buffer.clear()
            await self.app_put(message)

    async def _hear_close(self, event: CloseConnection) -> None:
        if self.connection.state is ConnectionState.OPEN:  # this was no frame, but an error in one
            await self._give_up(event.code, "this is no WebSocket message")
            return
        if self.connection.state is ConnectionState.REMOTE_CLOSING:
            await self._send_wsproto_event(event.response())
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _give_up(self, code: int, reason: str) -> None:
        """Close, and tell the application, which has not asked for it."""
        self._gave_up = True
        self.state = ASGIWebsocketState.CLOSED
        self.buffer.clear()
        await self._send_wsproto_event(CloseConnection(code=code, reason=reason))
        self._tell_app(code)

    def _end(self, code: int) -> None:
        """There is nobody at the other side any more."""
        if not self.closed:
            self.closed = True
            self._over.set()
            self._tell_app(code)

    def _tell_app(self, code: int) -> None:
        """That it is over, in place of what it has not heard yet.

        To wait until it has heard that could be for ever: it may be the one who waits for us.
        """
        if self.app_put is None:
            return
        unheard: asyncio.Queue[Any] = self.app_put.__self__  # type: ignore[attr-defined]
        while not unheard.empty():
            unheard.get_nowait()
        unheard.put_nowait({"type": "websocket.disconnect", "code": code})

    async def _look_after(self) -> None:
        """Ask whether anybody is there, and let go of whoever is not."""
        heard = -1
        while not await self._over_within(self._patience.silent_s):
            if self._heard == heard:
                logger.info("nobody answers at the other side of a WebSocket; it is let go")
                await self.send(StreamClosed(stream_id=self.stream_id))
                return
            heard = self._heard
            await self._send_wsproto_event(Ping())

    async def _over_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        return self._over.is_set()
