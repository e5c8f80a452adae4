"""Client address and scheme from the forwarded headers of a fixed number of trusted proxies.

Each proxy appends to `X-Forwarded-For`, so with N trusted proxies only the Nth value from the end
is reliable: everything before it was sent by the client. Hypercorn's own middleware deep-copies the
scope, which fails if the scope's state holds a lock.
"""

from __future__ import annotations

from service.web.asgi import ASGIApp, Receive, Scope, Send, header_value


def trust_proxies(app: ASGIApp, hops: int) -> ASGIApp:
    """Wrap `app` so that it sees the client and scheme that the outermost trusted proxy saw."""
    if hops == 0:
        return app

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            scope = dict(scope)
            if client := _nth_from_end(scope, b"x-forwarded-for", hops):
                scope["client"] = (client, 0)
            if scheme := _nth_from_end(scope, b"x-forwarded-proto", hops):
                is_secure = scheme.lower() in {"https", "wss"}
                plain, secure = ("ws", "wss") if scope["type"] == "websocket" else ("http", "https")
                scope["scheme"] = secure if is_secure else plain
        await app(scope, receive, send)

    return middleware


def _nth_from_end(scope: Scope, name: bytes, n: int) -> str | None:
    values = [value.strip() for value in header_value(scope, name).split(",")]
    return values[-n] if len(values) >= n else None
