"""The other side of a WebSocket of searches, whatever carries it."""

from __future__ import annotations

import json
from typing import Any


class Talk:
    """Says messages and hears them, over a client of `websockets` or of Quart."""

    def __init__(self, wire: Any) -> None:
        self._send = wire.send
        self._receive = wire.recv if hasattr(wire, "recv") else wire.receive

    async def say(self, message: Any) -> None:
        await self._send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def search(self, seq: Any, text: str, mode: str = "cascading", **more: Any) -> None:
        await self.say({"type": "search", "seq": seq, "mode": mode, "text_query": text, **more})

    async def hear(self) -> Any:
        return json.loads(await self._receive())

    async def hear_all(self) -> list[Any]:
        """Until a search is done, or an error."""
        told = [await self.hear()]
        while told[-1]["type"] == "results" and told[-1]["stage"] != "done":
            told.append(await self.hear())
        return told

    async def ping(self) -> None:
        """All that was said before has been heard when this returns."""
        await self.say({"type": "ping"})
        assert await self.hear() == {"type": "pong"}
