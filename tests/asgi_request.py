"""An ASGI request to an app in this process, whose client can disconnect at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from quart import Quart


class AsgiRequest:
    """One request to a running app, sent when it is created."""

    def __init__(
        self,
        app: Quart,
        target: str,
        method: str = "GET",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        asgi: Any = app
        self.sent: list[Any] = []
        self._gone = asyncio.Event()
        self._unread = [{"type": "http.request", "body": body, "more_body": False}]
        scope = _scope(target, method, body, headers or {})
        self.done = asyncio.create_task(asgi(scope, self._receive, self._send))

    async def disconnect(self) -> None:
        """Disconnect, and wait until the app has finished the request."""
        self._gone.set()
        await self.done

    async def headers(self) -> dict[str, str]:
        """The headers of the response; waits until it is complete."""
        await self.done
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    async def _receive(self) -> Any:
        if self._unread:
            return self._unread.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


def _scope(target: str, method: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    parts = urlsplit(target)
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in headers.items()),
        ],
        "client": ("127.0.0.1", 4711),
        "server": ("127.0.0.1", 8000),
        "extensions": {},
    }
