"""Load shedding: rejects requests from their raw bytes, before they are parsed.

Under overload, the cost of a rejection decides how much capacity is left for answers. A rejection
behind the HTTP server and the ASGI middleware costs a quarter of a search, this one a small part of
that. It is made only for the plain case: exactly one complete request, alone in what was received.
Any other request takes the normal way, on which the middleware rejects it with the same response.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import NamedTuple

from service.admission.controller import AdmissionController
from service.lifecycle import Lifecycle
from service.web.admission_middleware import needs_slot
from service.web.authentication import FORWARDING_HEADERS
from service.web.errors import rejection
from service.web.metrics.middleware import RequestMetrics

_REQUEST = re.compile(
    rb"(GET|POST) (/[\w./-]*)(?:\?[!-~]*)? HTTP/1\.1\r\n((?:[\w-]+:[\t -~]*\r\n)+)\r\n(.*)",
    re.DOTALL,
)
_HEADER = re.compile(rb"([\w-]+):([\t -~]*)\r\n")
_NEEDS_PARSER = {b"transfer-encoding", b"upgrade", b"expect"}
_NEEDS_MIDDLEWARE = {b"origin"}  # for the headers of CORS
_TAKES_NORMAL_WAY = _NEEDS_PARSER | _NEEDS_MIDDLEWARE

_FORWARDING = {name.lower().encode() for name in FORWARDING_HEADERS}


class PlainRequest(NamedTuple):
    """A request that can be rejected before it is parsed. Names of headers are in lower case."""

    method: str
    path: str
    headers: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A response, and how long to hold back the next request on the connection.

    A proxy's connection carries the requests of many clients, so there `hold_s` is 0.
    """

    headers: dict[str, str]
    body: bytes
    hold_s: float


class LoadShedder:
    """Rejects requests that need a slot while the admission controller is full."""

    def __init__(
        self, admission: AdmissionController, lifecycle: Lifecycle, requests: RequestMetrics
    ) -> None:
        self._admission = admission
        self._lifecycle = lifecycle
        self._requests = requests

    def match(self, received: bytes) -> PlainRequest | None:
        """The request if it can be rejected now; None if it takes the normal way."""
        if not self._admission.is_full or self._lifecycle.draining:
            return None
        match = _REQUEST.fullmatch(received)
        if match is None:
            return None
        method, path, head, body = match.groups()
        lines = _HEADER.findall(head)
        headers = {name.lower(): value.strip() for name, value in lines}
        if (
            needs_slot(path.decode())
            and len(headers) == len(lines)
            and not _TAKES_NORMAL_WAY & headers.keys()
            and headers.get(b"connection", b"keep-alive").lower() == b"keep-alive"
            and headers.get(b"content-length", b"0") == b"%d" % len(body)
        ):
            return PlainRequest(method.decode(), path.decode(), headers)
        return None

    def reject(self, request: PlainRequest) -> Rejection:
        started = time.perf_counter()
        error = self._admission.reject()
        request_id = request.headers.get(b"x-request-id", b"").decode()
        seconds = time.perf_counter() - started
        headers, body = rejection(error, request_id, seconds, self._lifecycle)
        self._requests.record(request.path, request.method, error.status, seconds)
        is_forwarded = bool(_FORWARDING & request.headers.keys())
        return Rejection(headers, body, 0.0 if is_forwarded else error.retry_after or 0.0)
