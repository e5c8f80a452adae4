"""A client of the search-as-you-type WebSocket."""

from __future__ import annotations

import json
from typing import Any


class SearchSocket:
    """Sends and receives messages over a client of `websockets` or of Quart."""

    def __init__(self, connection: Any) -> None:
        self._send = connection.send
        self._receive = connection.recv if hasattr(connection, "recv") else connection.receive

    async def send(self, message: Any) -> None:
        await self._send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def search(self, seq: Any, text: str, mode: str = "cascading", **more: Any) -> None:
        await self.send({"type": "search", "seq": seq, "mode": mode, "text_query": text, **more})

    async def receive(self) -> Any:
        return json.loads(await self._receive())

    async def receive_all(self) -> list[Any]:
        """All messages until a search is done or has failed."""
        messages = [await self.receive()]
        while messages[-1]["type"] == "results" and messages[-1]["stage"] != "done":
            messages.append(await self.receive())
        return messages

    async def ping(self) -> None:
        """Returns when the service has received everything sent before."""
        await self.send({"type": "ping"})
        assert await self.receive() == {"type": "pong"}
