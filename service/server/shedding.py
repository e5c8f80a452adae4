"""The short way to send somebody away: from the bytes of a request to the answer.

When more comes than can be answered, what a rejection costs decides how much is left for answering.
The way through the server and the gate costs a quarter of a search, this one a small part of that.
It is taken only where nothing is in doubt: one whole request for work, alone in what was received.
Whatever else comes goes the usual way, where the gate refuses it in the same words.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from service.admission.controller import AdmissionController
from service.lifecycle import Lifecycle
from service.web.admission_middleware import needs_slot
from service.web.authentication import FORWARDING_HEADERS
from service.web.errors import rejection

_REQUEST = re.compile(
    rb"(?:GET|POST) (/[\w./-]*)(?:\?[!-~]*)? HTTP/1\.1\r\n((?:[\w-]+:[\t -~]*\r\n)+)\r\n(.*)",
    re.DOTALL,
)
_HEADER = re.compile(rb"([\w-]+):([\t -~]*)\r\n")
_USUAL_WAY = {b"transfer-encoding", b"upgrade", b"expect"}
_FORWARDING = {name.lower().encode() for name in FORWARDING_HEADERS}


@dataclass(frozen=True, slots=True)
class Rejection:
    """The answer, and for how long it is too early to ask again over the same connection.

    A proxy's connections belong to many, so there it is no time at all.
    """

    headers: dict[str, str]
    body: bytes
    too_early_s: float


RequestHeaders = dict[bytes, bytes]


class LoadShedder:
    """Refuses requests for work while there is no place for one more."""

    def __init__(self, admission: AdmissionController, lifecycle: Lifecycle) -> None:
        self._admission = admission
        self._lifecycle = lifecycle

    def refusable(self, received: bytes) -> RequestHeaders | None:
        """The headers of a request that can be refused now; None if it has to go the usual way."""
        if not self._admission.is_full or self._lifecycle.draining:
            return None
        match = _REQUEST.fullmatch(received)
        if match is None:
            return None
        path, head, body = match.groups()
        lines = _HEADER.findall(head)
        given = {name.lower(): value.strip() for name, value in lines}
        if (
            needs_slot(path.decode())
            and len(given) == len(lines)
            and not _USUAL_WAY & given.keys()
            and given.get(b"connection", b"keep-alive").lower() == b"keep-alive"
            and given.get(b"content-length", b"0") == b"%d" % len(body)
        ):
            return given
        return None

    def refuse(self, given: RequestHeaders) -> Rejection:
        """What to answer."""
        started = time.perf_counter()
        error = self._admission.reject()
        given_id = given.get(b"x-request-id", b"").decode()
        seconds = time.perf_counter() - started
        headers, body = rejection(error, given_id, seconds, self._lifecycle)
        forwarded = _FORWARDING & given.keys()
        return Rejection(headers, body, 0.0 if forwarded else error.retry_after or 0.0)
