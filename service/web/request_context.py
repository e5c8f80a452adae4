"""What every response carries, and the one line that the log has of each request."""

from __future__ import annotations

import logging
import re
import time
from random import getrandbits

from quart import Quart, Response, g, request, websocket

from service.lifecycle import Lifecycle
from service.logs import request_id_var
from service.web.bodies import raw_header
from service.web.search.rendering import server_timing

logger = logging.getLogger("service.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
QUIET = {"/healthz", "/readyz"}
SWITCHING = 101
QUEUED = "cascade.queued_s"  # in a scope: how long the request has waited before it was begun


def request_id(given: str) -> str:
    """The id that the caller gave, if it can do no harm, or a new one."""
    return given if REQUEST_ID.fullmatch(given) else f"{getrandbits(128):032x}"


def headers(request_id: str, seconds: float, stages: str, lifecycle: Lifecycle) -> dict[str, str]:
    """The headers of every response; `stages` is where its time went, as far as that is known."""
    carried = {
        "X-Request-Id": request_id,
        "X-Process-Time": f"{seconds:.6f}",
        "X-Content-Type-Options": "nosniff",
        "Server-Timing": f"{stages}total;dur={seconds * 1000:.1f}",
    }
    if lifecycle.draining:
        carried["Connection"] = "close"
    return carried


def log(
    method: str, path: str, status: int, client: str | None, seconds: float, timing: str
) -> None:
    """The one line of a request."""
    level = logging.DEBUG if path in QUIET else logging.INFO
    if logger.isEnabledFor(level):
        told = {
            "method": method,
            "path": path,
            "status": status,
            "ms": round(seconds * 1000, 3),
            "client": client,
            "timing": timing,
        }
        logger.log(level, "%s %s %s", method, path, status, extra=told)


def install(app: Quart, lifecycle: Lifecycle) -> None:
    """Register the hooks."""
    _install_for_requests(app, lifecycle)
    _install_for_sockets(app, lifecycle)


def _install_for_requests(app: Quart, lifecycle: Lifecycle) -> None:

    @app.before_request
    async def begin() -> None:
        g.queued = request.scope.get(QUEUED, 0.0)
        g.started = time.perf_counter() - g.queued
        g.request_id = request_id(raw_header(request, b"x-request-id"))
        request_id_var.set(g.request_id)

    @app.after_request
    async def finish(response: Response) -> Response:
        seconds = time.perf_counter() - g.started
        stages = f"queue;dur={g.queued * 1000:.1f}, " if g.queued else ""
        if "receipt" in g:
            stages += server_timing(g.receipt) + ", "
        carried = headers(g.request_id, seconds, stages, lifecycle)
        response.headers.extend(carried)
        log(
            request.method,
            request.path,
            response.status_code,
            request.remote_addr,
            seconds,
            carried["Server-Timing"],
        )
        return response


def _install_for_sockets(app: Quart, lifecycle: Lifecycle) -> None:
    @app.before_websocket
    async def begin() -> None:
        g.started = time.perf_counter()
        g.request_id = request_id(raw_header(websocket, b"x-request-id"))
        request_id_var.set(g.request_id)

    @app.after_websocket  # type: ignore[type-var]  # nothing is a response, too
    async def refuse(response: Response | None) -> Response | None:
        """Only a handshake that is refused, and what has failed, comes to a response."""
        if response is not None:
            g.status = response.status_code
            carried = headers(g.request_id, time.perf_counter() - g.started, "", lifecycle)
            response.headers.extend(carried)
        return response

    @app.teardown_websocket
    async def tell(_: BaseException | None) -> None:
        """One line for all that was said over it."""
        status = g.get("status", SWITCHING)
        seconds = time.perf_counter() - g.started
        log("GET", websocket.path, status, websocket.remote_addr, seconds, "")
