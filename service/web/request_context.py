"""Request and trace ids, response headers, and when to log: what all requests have in common."""

from __future__ import annotations

import re
import time
from random import getrandbits
from typing import Any

from quart import Quart, Response, g, request, websocket

from service.lifecycle import Lifecycle
from service.logs import request_id_var, trace_id_var
from service.retrieval.receipt import Receipt, StageReceipt
from service.tracing.traceparent import trace_id_of
from service.web.access_log import CANCELLED, NO_ANSWER, AccessLog
from service.web.asgi import Scope, header_value
from service.web.browsers.security_headers import EVERY_RESPONSE, STRICT_TRANSPORT_SECURITY

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
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


def install(app: Quart, lifecycle: Lifecycle, *, log_queries: bool = False) -> AccessLog:
    """Register the hooks for requests and WebSockets; returns their log."""
    access_log = AccessLog(log_queries=log_queries)
    _install_request_hooks(app, lifecycle, access_log)
    _install_websocket_hooks(app, lifecycle, access_log)
    return access_log


def _identify(scope: Scope, state: Any) -> None:
    """Give the current request its ids, for its responses and for every log line about it."""
    state.request_id = choose_request_id(header_value(scope, b"x-request-id"))
    request_id_var.set(state.request_id)
    trace_id_var.set(trace_id_of(header_value(scope, b"traceparent")))


def _install_request_hooks(app: Quart, lifecycle: Lifecycle, access_log: AccessLog) -> None:
    @app.before_request
    async def start_request() -> None:
        state, scope = unwrap(g), request.scope
        state.queue_s = scope.get(QUEUE_TIME_KEY, 0.0)
        state.started = time.perf_counter() - state.queue_s
        _identify(scope, state)

    @app.after_request
    async def finish_request(response: Response) -> Response:
        state = unwrap(g)
        state.seconds = seconds = time.perf_counter() - state.started
        state.status = response.status_code
        timings = f"queue;dur={state.queue_s * 1000:.1f}, " if state.queue_s else ""
        if "receipt" in state:
            timings += server_timing(state.receipt) + ", "
        headers = response_headers(state.request_id, seconds, timings, lifecycle)
        state.timing = headers["Server-Timing"]
        response.headers.extend(headers)
        if "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        if request.scheme == "https":
            response.headers["Strict-Transport-Security"] = STRICT_TRANSPORT_SECURITY
        return response

    @app.teardown_request
    async def log_request(_: BaseException | None) -> None:
        """Log one line per request; a request that was cancelled has no response."""
        state = unwrap(g)
        if "status" not in state:
            state.code, state.timing = CANCELLED, ""
            state.status, state.seconds = NO_ANSWER, time.perf_counter() - state.started
        access_log.log(unwrap(request), state.status, state.seconds, state.timing)


def _install_websocket_hooks(app: Quart, lifecycle: Lifecycle, access_log: AccessLog) -> None:
    @app.before_websocket
    async def start_websocket() -> None:
        g.started = time.perf_counter()
        _identify(websocket.scope, unwrap(g))

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
        access_log.log(unwrap(websocket), status, time.perf_counter() - g.started)


def server_timing(receipt: Receipt) -> str:
    """The stages of a search as `Server-Timing` metrics."""
    return ", ".join(map(_stage_timing, receipt.stages))


def _stage_timing(stage: StageReceipt) -> str:
    timing = f"{stage.stage};dur={stage.ms:.1f}"
    return timing if stage.status == "ok" else f"{timing};desc={stage.status}"
