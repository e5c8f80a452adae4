"""Quart's test WebSocket, whose `receive` raises once the app has closed the connection.

Quart itself had this until release 0.23, in which `receive` waits forever.
"""

from __future__ import annotations

from typing import Any

from quart.testing.connections import TestWebsocketConnection, WebsocketResponseError


class WebsocketDisconnectError(Exception):
    """The app closed the connection with this code."""


class WebsocketTestConnection(TestWebsocketConnection):
    async def __aexit__(self, *exc_info: Any) -> None:
        await self.disconnect()
        await self._task
        while not self._receive_queue.empty():
            data = self._receive_queue.get_nowait()
            if isinstance(data, WebsocketResponseError):
                raise data

    async def _asgi_send(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            await self._receive_queue.put(WebsocketDisconnectError(message.get("code", 1000)))
        else:
            await super()._asgi_send(message)
