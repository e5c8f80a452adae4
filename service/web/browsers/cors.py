"""ASGI middleware for CORS: which web pages of other origins may read the responses.

It answers preflight requests (Fetch standard, section 3.2), which have no key, and adds the headers
of CORS to every other response, of the app and of a middleware that refuses the request.
So it stands outside of both. Credentials are never allowed. A page has to send a key itself, so
that no page can use what the browser keeps for this service.
"""

from __future__ import annotations

from collections.abc import Collection

from service.access.policy import ANY_ORIGIN
from service.errors import OriginRefused
from service.lifecycle import Lifecycle
from service.web.asgi import (
    ASGIApp,
    Message,
    RawHeaders,
    Receive,
    Scope,
    Send,
    drain_body,
    encode_headers,
    header_value,
)
from service.web.errors import log_rejection, rejection
from service.web.request_context import choose_request_id, response_headers

ALLOWED_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
ALLOWED_HEADERS = (
    "Accept",
    "Api-Key",
    "Authorization",
    "Baggage",
    "Cache-Control",
    "Content-Encoding",
    "Content-Type",
    "If-None-Match",
    "Last-Event-ID",
    "Traceparent",
    "Tracestate",
    "X-Request-Id",
)
EXPOSED_HEADERS = (
    "Age",
    "Allow",
    "Content-Disposition",
    "Content-Encoding",
    "Date",
    "ETag",
    "Location",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "Server-Timing",
    "WWW-Authenticate",
    "X-Cache",
    "X-Process-Time",
    "X-Request-Id",
)
MAX_AGE_S = 7_200  # how long a browser remembers a preflight; Chromium's limit
NO_CONTENT = 204
PREFLIGHT_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
REFUSED = (
    "Web pages of this origin may not send requests to this service; ALLOWED_ORIGINS lists those "
    "that may"
)


def allow_origins(app: ASGIApp, origins: Collection[str], lifecycle: Lifecycle) -> ASGIApp:
    """Wrap `app` so that web pages of these origins may read its responses."""
    return CorsMiddleware(app, origins, lifecycle) if origins else app


class CorsMiddleware:
    """Without `*`, responses depend on `Origin`; with it, all of them have the same headers."""

    def __init__(self, app: ASGIApp, origins: Collection[str], lifecycle: Lifecycle) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._allows_any = ANY_ORIGIN in origins
        self._granted = {origin: _granting_headers(origin) for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the same-origin policy does not cover WebSockets
            await self._app(scope, receive, send)
            return
        origin = header_value(scope, b"origin")
        granted = self._granted.get(ANY_ORIGIN if self._allows_any else origin, [])
        if origin and _is_preflight(scope):
            await self._answer_preflight(scope, receive, send, granted)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), *granted]
                if not self._allows_any:
                    _vary_by_origin(headers)
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    async def _answer_preflight(
        self, scope: Scope, receive: Receive, send: Send, granted: RawHeaders
    ) -> None:
        sent_id = header_value(scope, b"x-request-id")
        status, body = NO_CONTENT, b""
        if granted:
            headers = response_headers(choose_request_id(sent_id), 0.0, "", self._lifecycle)
            headers["Access-Control-Allow-Methods"] = ", ".join(ALLOWED_METHODS)
            headers["Access-Control-Allow-Headers"] = ", ".join(ALLOWED_HEADERS)
            headers["Access-Control-Max-Age"] = str(MAX_AGE_S)
        else:
            error = OriginRefused(REFUSED)
            status = error.status
            headers, body = rejection(error, sent_id, 0.0, self._lifecycle)
            log_rejection(scope, error, headers["X-Request-Id"])
        headers["Vary"] = PREFLIGHT_VARY
        await drain_body(receive)
        raw = encode_headers(headers.items()) + granted
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


def _granting_headers(origin: str) -> RawHeaders:
    return encode_headers(
        [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", ", ".join(EXPOSED_HEADERS)),
        ]
    )


def _is_preflight(scope: Scope) -> bool:
    return scope["method"] == "OPTIONS" and bool(
        header_value(scope, b"access-control-request-method")
    )


def _vary_by_origin(headers: RawHeaders) -> None:
    for position, (name, value) in enumerate(headers):
        if name == b"vary":
            headers[position] = (name, value + b", Origin")
            return
    headers.append((b"vary", b"Origin"))
