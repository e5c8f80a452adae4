"""The transport of Pinecone's clients with a span for each call, which continues the trace.

A call outside of a trace, such as one of an import in the background, has no span.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx

from service.indexes.connection_pool import RawResponse
from service.indexes.transport import PoolTransport

if TYPE_CHECKING:
    from service.tracing.spans import Tracing

FIRST_ERROR = 400
_NAMESPACE = re.compile(r"(?<=/namespaces/)[^/]+")


class TracedTransport(PoolTransport):
    def __init__(self, origin: httpx.URL, max_idle: int, tracing: Tracing) -> None:
        super().__init__(origin, max_idle)
        self._tracing = tracing
        self._origin = origin.copy_with(raw_path=b"/")

    async def send(self, request: bytes, url: httpx.URL, timeout_s: float | None) -> RawResponse:
        tracing = self._tracing
        if not tracing.is_in_trace():
            return await super().send(request, url, timeout_s)
        line, _, rest = request.partition(b"\r\n")
        method, target, _ = line.decode("ascii").split(" ", 2)
        path = target.partition("?")[0]
        attributes = {
            "http.request.method": method,
            "server.address": self._origin.host,
            "server.port": self._origin.port,
            "url.full": f"{self._origin}{path.removeprefix('/')}",
        }
        name = f"{method} {_NAMESPACE.sub('{namespace}', path)}"
        with tracing.call_span(name, attributes) as span:
            traced = b"%b\r\n%b%b" % (line, tracing.outgoing_headers(), rest)
            response = await super().send(traced, url, timeout_s)
            span.set_attribute("http.response.status_code", response.status)
            if response.status >= FIRST_ERROR:
                tracing.fail(span, str(response.status))
            return response
