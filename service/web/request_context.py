"""Request ids, response headers, and the access log: what all requests have in common."""

from __future__ import annotations

import logging
import re
import time
from random import getrandbits
from typing import Any

from quart import Quart, Response, g, request, websocket
from quart.wrappers.base import BaseRequestWebsocket

from service.lifecycle import Lifecycle
from service.logs import one_line, request_id_var
from service.retrieval.receipt import Receipt, StageReceipt
from service.web.asgi import header_value
from service.web.browsers.security_headers import EVERY_RESPONSE, STRICT_TRANSPORT_SECURITY

logger = logging.getLogger("service.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
PROBES = {"/healthz", "/readyz"}  # logged at level DEBUG
SWITCHING_PROTOCOLS = 101
QUEUE_TIME_KEY = "cascade.queue_s"  # in the ASGI scope: seconds in the admission queue


def unwrap(proxy: Any) -> Any:
    """The object behind Quart's `request` or `websocket`, which look it up at each use."""
    return proxy._get_current_object()


def choose_request_id(sent: str) -> str:
    """Return the id that the client sent if it is safe to log and return, or a random one."""
    return sent if REQUEST_ID.fullmatch(sent) else f"{getrandbits(128):032x}"


def response_headers(
    request_id: str, seconds: float, stage_timings: str, lifecycle: Lifecycle
) -> dict[str, str]:
    """The headers of every response. `stage_timings` precede the total in `Server-Timing`."""
    headers = {
        "X-Request-Id": request_id,
        "X-Process-Time": f"{seconds:.6f}",
        "Server-Timing": f"{stage_timings}total;dur={seconds * 1000:.1f}",
        **EVERY_RESPONSE,
    }
    if lifecycle.draining:
        headers["Connection"] = "close"
    return headers


def install(app: Quart, lifecycle: Lifecycle) -> None:
    """Register the hooks for requests and WebSockets."""
    _install_request_hooks(app, lifecycle)
    _install_websocket_hooks(app, lifecycle)


def _install_request_hooks(app: Quart, lifecycle: Lifecycle) -> None:
    @app.before_request
    async def start_request() -> None:
        g.queue_s = request.scope.get(QUEUE_TIME_KEY, 0.0)
        g.started = time.perf_counter() - g.queue_s
        g.request_id = choose_request_id(header_value(request.scope, b"x-request-id"))
        request_id_var.set(g.request_id)

    @app.after_request
    async def finish_request(response: Response) -> Response:
        seconds = time.perf_counter() - g.started
        timings = f"queue;dur={g.queue_s * 1000:.1f}, " if g.queue_s else ""
        if "receipt" in g:
            timings += server_timing(g.receipt) + ", "
        headers = response_headers(g.request_id, seconds, timings, lifecycle)
        response.headers.extend(headers)
        if "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        if request.scheme == "https":
            response.headers["Strict-Transport-Security"] = STRICT_TRANSPORT_SECURITY
        _log_request(request, response.status_code, seconds, headers["Server-Timing"])
        return response


def _install_websocket_hooks(app: Quart, lifecycle: Lifecycle) -> None:
    @app.before_websocket
    async def start_websocket() -> None:
        g.started = time.perf_counter()
        g.request_id = choose_request_id(header_value(websocket.scope, b"x-request-id"))
        request_id_var.set(g.request_id)

    @app.after_websocket  # type: ignore[type-var]  # Quart's type leaves out None
    async def finish_handshake(response: Response | None) -> Response | None:
        """There is a response only if the handshake was rejected, or the handler failed."""
        if response is not None:
            g.status = response.status_code
            seconds = time.perf_counter() - g.started
            response.headers.extend(response_headers(g.request_id, seconds, "", lifecycle))
        return response

    @app.teardown_websocket
    async def log_websocket(_: BaseException | None) -> None:
        """Log one line per connection."""
        status = g.get("status", SWITCHING_PROTOCOLS)
        seconds = time.perf_counter() - g.started
        _log_request(websocket, status, seconds, "")


def server_timing(receipt: Receipt) -> str:
    """The stages of a search as `Server-Timing` metrics."""
    return ", ".join(map(_stage_timing, receipt.stages))


def _stage_timing(stage: StageReceipt) -> str:
    timing = f"{stage.stage};dur={stage.ms:.1f}"
    return timing if stage.status == "ok" else f"{timing};desc={stage.status}"


def _log_request(
    connection: BaseRequestWebsocket, status: int, seconds: float, timing: str
) -> None:
    path = connection.path
    level = logging.DEBUG if path in PROBES else logging.INFO
    if logger.isEnabledFor(level):
        method, path = one_line(connection.method), one_line(path)
        code = g.get("code")
        fields = {
            "method": method,
            "path": path,
            "status": status,
            "code": code,
            "ms": round(seconds * 1000, 3),
            "client": connection.remote_addr,
            "timing": timing,
        }
        outcome = f"{status} {code}" if code else status
        logger.log(level, "%s %s %s", method, path, outcome, extra=fields)
