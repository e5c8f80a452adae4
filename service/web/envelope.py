"""What every response carries, and the one line that the log has of each request."""

from __future__ import annotations

import logging
import re
import time
from secrets import token_hex

from quart import Quart, Response, g, request

from service.lifecycle import Lifecycle
from service.logs import request_id_var
from service.web.bodies import raw_header
from service.web.writing import server_timing

logger = logging.getLogger("service.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
QUIET = {"/healthz", "/readyz"}


def install(app: Quart, lifecycle: Lifecycle) -> None:
    """Register the hooks."""

    @app.before_request
    async def begin() -> None:
        g.started = time.perf_counter()
        given = raw_header(request, b"x-request-id")
        g.request_id = given if REQUEST_ID.fullmatch(given) else token_hex(16)
        request_id_var.set(g.request_id)

    @app.after_request
    async def finish(response: Response) -> Response:
        seconds = time.perf_counter() - g.started
        stages = server_timing(g.receipt) + ", " if "receipt" in g else ""
        timing = f"{stages}total;dur={seconds * 1000:.1f}"
        response.headers.extend(
            (
                ("X-Request-Id", g.request_id),
                ("X-Process-Time", f"{seconds:.6f}"),
                ("X-Content-Type-Options", "nosniff"),
                ("Server-Timing", timing),
            )
        )
        if lifecycle.draining:
            response.headers["Connection"] = "close"
        level = logging.DEBUG if request.path in QUIET else logging.INFO
        if logger.isEnabledFor(level):
            logger.log(
                level,
                "%s %s %s",
                request.method,
                request.path,
                response.status_code,
                extra={
                    "method": request.method,
                    "path": request.path,
                    "status": response.status_code,
                    "ms": round(seconds * 1000, 3),
                    "client": request.remote_addr,
                    "timing": timing,
                },
            )
        return response
