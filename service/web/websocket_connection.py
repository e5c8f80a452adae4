"""How WebSockets come into the app and leave it, whatever is said over them.

There are no more than a number of them; of the messages of each, a few wait to be read, and the
rest waits on the other side of the wire. Whoever is in the app when the process has to stop is told
so. Knows nothing of who may come in, nor of messages.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from quart import Quart
from quart.asgi import ASGIWebsocketConnection
from quart.typing import ResponseTypes

from service.errors import Overloaded, Unavailable
from service.lifecycle import Lifecycle
from service.web.refusal import rejection

MOST = 2_000
RETRY_S = 5.0
UNREAD = 8  # messages
GOODBYE_S = 1.0  # for the other side to close, too

FAILED, LEAVING, DONE = 1011, 1001, 1000


class WebSocketRegistry:
    """Those that are open in an app."""

    def __init__(self, lifecycle: Lifecycle, most: int = MOST) -> None:
        self.lifecycle = lifecycle
        self._most = most
        self._open: set[WebSocketConnection] = set()
        lifecycle.when_draining(self._send_home)

    def connection(self, app: Quart, scope: Any) -> WebSocketConnection:
        """What takes the place of Quart's own class for it."""
        return WebSocketConnection(app, scope, self)

    def check(self) -> None:
        """Raise where there is no room for one more."""
        if self.lifecycle.draining:
            raise Unavailable("The service is stopping; try again shortly", retry_after=RETRY_S)
        if len(self._open) >= self._most:
            raise Overloaded(
                f"{self._most} WebSockets are open here, and no more; try again later",
                retry_after=RETRY_S,
            )

    @contextlib.contextmanager
    def entered(self, socket: WebSocketConnection) -> Iterator[None]:
        self._open.add(socket)
        try:
            yield
        finally:
            self._open.discard(socket)

    def _send_home(self) -> None:
        for socket in self._open:
            socket.send_home()


class WebSocketConnection(ASGIWebsocketConnection):
    """One WebSocket's way through the app."""

    def __init__(self, app: Quart, scope: Any, sockets: WebSocketRegistry) -> None:
        super().__init__(app, scope)
        self.queue = asyncio.Queue(UNREAD)
        self._sockets = sockets
        self._handler: asyncio.Task[Any] | None = None
        self._leaving = False
        self._gone = False

    async def __call__(self, receive: Any, send: Any) -> None:
        try:
            self._sockets.check()
        except Unavailable as error:
            await self._send_away(error, send)
            return
        try:
            with self._sockets.entered(self):
                await super().__call__(receive, send)
                await self._leave(receive, send)
        finally:
            if self._handler is not None:
                self._handler.cancel()
            self._handler = None  # which has us in its hands

    def send_home(self) -> None:
        """The process has to stop."""
        self._leaving = True
        if self._handler is not None:
            self._handler.cancel()

    async def handle_messages(self, receive: Any) -> None:
        await super().handle_messages(receive)
        self._gone = True

    async def handle_websocket(self, websocket: Any, send: Any) -> None:
        """As Quart does, but that a failure is not the same as an end."""
        self._handler = asyncio.current_task()
        response = await self.app.handle_websocket(websocket)
        if not self._accepted:
            await self._refuse(response, send)
        elif not self._closed:
            await self.close_connection(send, DONE if response is None else FAILED, "")

    async def _leave(self, receive: Any, send: Any) -> None:
        """Say goodbye, and hear the other side say it: what it still sends would undo ours."""
        if self._leaving and not self._accepted:
            await self._send_away(Unavailable("The service is stopping", retry_after=RETRY_S), send)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                if self._leaving and not self._closed:
                    await self.close_connection(send, LEAVING, "the service is stopping")
                while self._closed and not self._gone:
                    self._gone = (await receive())["type"] == "websocket.disconnect"

    async def _send_away(self, error: Unavailable, send: Any) -> None:
        given_id = dict(self.scope["headers"]).get(b"x-request-id", b"").decode("latin1")
        headers, body = rejection(error, given_id, 0.0, self._sockets.lifecycle)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._answer(error.status, raw, body, send)

    async def _refuse(self, response: ResponseTypes | None, send: Any) -> None:
        if response is None:  # nobody said anything
            await send({"type": "websocket.close", "code": DONE})
            return
        raw = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
        body: Any = await response.get_data(as_text=False)  # type: ignore[misc]  # Quart's own
        await self._answer(response.status_code, raw, body, send)

    async def _answer(
        self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, send: Any
    ) -> None:
        """In place of a handshake, where the server is able to."""
        if "websocket.http.response" not in (self.scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": DONE})
            return
        start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": body})
