"""Believe exactly as many proxies as are trusted, and no forwarded header otherwise.

Hypercorn has a middleware for this; it copies the scope deeply, which fails where the scope's state
holds anything that can't be copied, a lock say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

App = Callable[[Any, Any, Any], Awaitable[None]]


def trust_proxies(app: App, hops: int) -> App:
    """Wrap `app` so that it sees the client and scheme which the outermost trusted proxy saw."""
    if hops == 0:
        return app

    async def trusting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] in {"http", "websocket"}:
            scope = dict(scope)
            if client := _from_the_end(scope, b"x-forwarded-for", hops):
                scope["client"] = (client, 0)
            if scheme := _from_the_end(scope, b"x-forwarded-proto", hops):
                secure = scheme.lower() in {"https", "wss"}
                plain, tls = ("ws", "wss") if scope["type"] == "websocket" else ("http", "https")
                scope["scheme"] = tls if secure else plain
        await app(scope, receive, send)

    return trusting


def _from_the_end(scope: Any, name: bytes, hops: int) -> str | None:
    """What the trusted proxy `hops` away wrote; what the client itself sent stands before it."""
    lines = [value.decode("latin1") for key, value in scope["headers"] if key.lower() == name]
    values = [value.strip() for line in lines for value in line.split(",")]
    return values[-hops] if len(values) >= hops else None
