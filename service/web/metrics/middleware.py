"""ASGI middleware that measures every request, including those that are rejected.

It is the outermost one, so that it sees what the client sees. A WebSocket is a request with status
101, which is in progress until it is closed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable

from service.web.asgi import ASGIApp, Message, Receive, Scope, Send, route_path
from service.web.metrics.metrics import Metrics
from service.web.metrics.route_labels import RouteLabels

SWITCHING_PROTOCOLS = 101
FORBIDDEN = 403  # what a server answers if the app closes a WebSocket before it accepts it
INTERNAL_SERVER_ERROR = 500
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that did not wait for the response


class RequestMetrics:
    """`in_progress` has the number of requests by route, streams and WebSockets included."""

    def __init__(self, metrics: Metrics, routes: RouteLabels) -> None:
        self.in_progress: Counter[str] = Counter()
        self._metrics = metrics
        self._routes = routes

    def record(self, path: str, method: str, status: int, seconds: float) -> None:
        """Record a request that does not pass through the app."""
        self._metrics.record_request(self._routes.label(path), method, status, seconds)

    def measure(self, app: ASGIApp) -> ASGIApp:
        """Wrap `app` so that its requests are measured."""

        async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] not in {"http", "websocket"}:
                await app(scope, receive, send)
                return
            route = self._routes.label(route_path(scope))
            self.in_progress[route] += 1
            request = _MeasuredRequest(self._metrics, route, scope.get("method", "GET"), send)
            try:
                await app(scope, receive, request.send)
            except Exception:
                request.record(INTERNAL_SERVER_ERROR)
                raise
            finally:
                self.in_progress[route] -= 1
                request.record(CLIENT_CLOSED_REQUEST)

        return middleware


class _MeasuredRequest:
    """Records a request once, when its response starts or when it ends without one."""

    __slots__ = ("_is_recorded", "_method", "_metrics", "_route", "_send", "_started")

    def __init__(self, metrics: Metrics, route: str, method: str, send: Send) -> None:
        self._metrics = metrics
        self._route = route
        self._method = method
        self._send = send
        self._started = time.perf_counter()
        self._is_recorded = False

    def send(self, message: Message) -> Awaitable[None]:
        if not self._is_recorded:
            self.record(_status(message))
        return self._send(message)

    def record(self, status: int) -> None:
        if not self._is_recorded:
            self._is_recorded = True
            seconds = time.perf_counter() - self._started
            self._metrics.record_request(self._route, self._method, status, seconds)


def _status(message: Message) -> int:
    """The status of the first message, which starts the response or the WebSocket."""
    if message["type"] == "websocket.accept":
        return SWITCHING_PROTOCOLS
    status: int = message.get("status", FORBIDDEN)
    return status
