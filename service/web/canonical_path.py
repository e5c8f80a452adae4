"""ASGI middleware that refuses paths which different readers could take for different routes.

Werkzeug's routing ignores further slashes at the start of a path, and Quart takes the path out of
an absolute URL. The admission gate and the limits of bodies compare paths as they are, so `//api/…`
would reach a route that they do not see. Behind this middleware, every reader sees the same path:
it is decoded once, by the server, and starts with exactly one slash.
"""

from __future__ import annotations

from service.errors import NotFound
from service.lifecycle import Lifecycle
from service.web.asgi import (
    ASGIApp,
    Receive,
    Scope,
    Send,
    drain_body,
    encode_headers,
    header_value,
    route_path,
)
from service.web.errors import log_rejection, rejection

NOT_CANONICAL = (
    "There is no endpoint at this path: a path starts with exactly one slash; /api/docs lists the "
    "endpoints"
)


def is_canonical(path: str) -> bool:
    return path.startswith("/") and not path.startswith("//")


def require_canonical_path(app: ASGIApp, lifecycle: Lifecycle) -> ASGIApp:
    """Wrap `app` so that it gets canonical paths only. The others are answered with 404."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_canonical(route_path(scope)):
            await app(scope, receive, send)
        else:
            await _refuse(scope, receive, send, lifecycle)

    return middleware


async def _refuse(scope: Scope, receive: Receive, send: Send, lifecycle: Lifecycle) -> None:
    error = NotFound(NOT_CANONICAL)
    headers, body = rejection(error, header_value(scope, b"x-request-id"), 0.0, lifecycle)
    log_rejection(scope, error, headers["X-Request-Id"])
    prefix = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close"})
            return
        prefix = "websocket.http.response"
    else:
        await drain_body(receive)
    raw = encode_headers(headers.items())
    await send({"type": f"{prefix}.start", "status": error.status, "headers": raw})
    await send({"type": f"{prefix}.body", "body": body})
