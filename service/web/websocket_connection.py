"""Quart's WebSocket connection, with limits and with an orderly close.

The number of connections is limited, and so is the number of messages that wait to be read: the
rest waits in the client, by TCP flow control. On shutdown, each connection is closed with 1001.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from quart import Quart, Websocket
from quart.asgi import ASGIWebsocketConnection
from quart.typing import ResponseTypes

from service.errors import Overloaded, Unavailable
from service.lifecycle import Lifecycle
from service.web.asgi import RawHeaders, encode_headers, header_value
from service.web.errors import rejection
from service.web.http_connection import run_until_first_ends

MAX_CONNECTIONS = 2_000
RETRY_AFTER_S = 5.0
MAX_UNREAD_MESSAGES = 8
CLOSE_TIMEOUT_S = 1.0  # for the close frame of the client

# Close codes (RFC 6455, section 7.4.1).
NORMAL, GOING_AWAY, INTERNAL_ERROR = 1000, 1001, 1011


class WebSocketRegistry:
    """The open connections of an app."""

    def __init__(self, lifecycle: Lifecycle, max_connections: int = MAX_CONNECTIONS) -> None:
        self.lifecycle = lifecycle
        self._max_connections = max_connections
        self._open: set[WebSocketConnection] = set()
        lifecycle.when_draining(self._close_all)

    def install(self, app: Quart) -> None:
        """Let Quart make its connections by this registry."""
        app.websocket_class = BoundedWebsocket
        app.asgi_websocket_class = partial(WebSocketConnection, registry=self)  # type: ignore[assignment]

    def check_capacity(self) -> None:
        """Raise `Unavailable` while draining, or `Overloaded` at the limit."""
        if self.lifecycle.draining:
            raise Unavailable(
                "The service is stopping; try again shortly", retry_after=RETRY_AFTER_S
            )
        if len(self._open) >= self._max_connections:
            raise Overloaded(
                f"{self._max_connections} WebSocket connections are open, which is the limit; "
                f"try again in {RETRY_AFTER_S:g} s",
                retry_after=RETRY_AFTER_S,
            )

    @contextlib.contextmanager
    def registered(self, connection: WebSocketConnection) -> Iterator[None]:
        self._open.add(connection)
        try:
            yield
        finally:
            self._open.discard(connection)

    def _close_all(self) -> None:
        for connection in self._open:
            connection.go_away()


class BoundedWebsocket(Websocket):
    """Quart's WebSocket with a bounded queue of received messages."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.end: Callable[[int, str], None] | None = None  # of its connection
        self.messages: asyncio.Queue[str | bytes] = asyncio.Queue(MAX_UNREAD_MESSAGES)

    async def receive(self) -> str | bytes:
        await self.accept()
        return await self.messages.get()


class WebSocketConnection(ASGIWebsocketConnection):
    def __init__(self, app: Quart, scope: Any, registry: WebSocketRegistry) -> None:
        super().__init__(app, scope)
        self._registry = registry
        self._handler: asyncio.Task[Any] | None = None
        self._end: tuple[int, str] | None = None  # the close code and its reason
        self._is_disconnected = False

    async def __call__(self, receive: Any, send: Any) -> None:
        try:
            self._registry.check_capacity()
        except Unavailable as error:
            await self._reject(error, send)
            return
        try:
            with self._registry.registered(self):
                websocket: Any = self._create_websocket_from_scope(send)
                websocket.end = self.end
                handler = self.handle_websocket(websocket, send)
                await run_until_first_ends(handler, self._receive_messages(websocket, receive))
                await self._close(receive, send)
        finally:
            if self._handler is not None:
                self._handler.cancel()
            self._handler = None  # break the reference cycle

    def go_away(self) -> None:
        """End the handler; the connection is then closed with 1001."""
        self.end(GOING_AWAY, "the service is stopping")

    def end(self, code: int, reason: str) -> None:
        """End the handler; the connection is then closed with this code."""
        self._end = (code, reason)
        if self._handler is not None:
            self._handler.cancel()

    async def _receive_messages(self, websocket: BoundedWebsocket, receive: Any) -> None:
        """Return when the client has disconnected."""
        while (event := await receive())["type"] != "websocket.disconnect":
            if event["type"] == "websocket.receive":
                await websocket.messages.put(event.get("bytes") or event["text"])
        self._is_disconnected = True

    async def handle_websocket(self, websocket: Any, send: Any) -> None:
        """Like Quart's, but closes with 1011 instead of 1000 if the handler failed."""
        self._handler = asyncio.current_task()
        response = await self.app.handle_websocket(websocket)
        if not self._accepted:
            await self._reject_with(response, send)
        elif not self._closed:
            code = NORMAL if response is None else INTERNAL_ERROR
            await self.close_connection(send, code, "")

    async def _close(self, receive: Any, send: Any) -> None:
        """Send our close frame if none was sent, and wait for the client's.

        Without the wait, data that the client is still sending would reset the connection, and
        our last messages would be lost.
        """
        if self._end and not self._accepted:
            error = Unavailable("The service is stopping", retry_after=RETRY_AFTER_S)
            await self._reject(error, send)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                if self._end and not self._closed:
                    await self.close_connection(send, *self._end)
                while self._closed and not self._is_disconnected:
                    self._is_disconnected = (await receive())["type"] == "websocket.disconnect"

    async def _reject(self, error: Unavailable, send: Any) -> None:
        sent_id = header_value(self.scope, b"x-request-id")
        headers, body = rejection(error, sent_id, 0.0, self._registry.lifecycle)
        await self._respond(error.status, encode_headers(headers.items()), body, send)

    async def _reject_with(self, response: ResponseTypes | None, send: Any) -> None:
        if response is None:  # the handler neither accepted nor responded
            await send({"type": "websocket.close", "code": NORMAL})
            return
        body: Any = await response.get_data(as_text=False)  # type: ignore[misc]  # Quart's types
        headers = encode_headers(response.headers.items())
        await self._respond(response.status_code, headers, body, send)

    async def _respond(self, status: int, headers: RawHeaders, body: bytes, send: Any) -> None:
        """Answer the handshake with an HTTP response, if the server supports the extension."""
        if "websocket.http.response" not in (self.scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": NORMAL})
            return
        start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": body})
