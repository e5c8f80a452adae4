"""Everything that can go wrong, as one tree.

Knows nothing of HTTP libraries, of Pinecone's client, or of how an error is shown. A class says
which status and which stable code its error has; whoever raises it writes the sentence that a
person can act on.

    CascadeError
     ├─ StartupFailed                 the process can't serve: one line, exit status 1
     ├─ CommandFailed                 a command can't do what it was asked: the same
     └─ RequestError                  the answer to one request
         ├─ BadRequest            400 not understood at all
         ├─ KeyMissing            401 a key is needed
         ├─ KeyRejected           401 this key is none
         ├─ WritesClosed          403 nobody may write, until there are keys
         ├─ OriginRefused         403 a write that a foreign web page may have sent
         ├─ NotFound              404
         ├─ MethodNotAllowed      405
         ├─ BodyTimeout           408
         ├─ CursorExpired         410 the ranking that it leads on in is not kept any more
         ├─ BodyTooLarge          413
         ├─ UnsupportedMediaType  415
         ├─ InvalidRequest        422 understood, with values that are not allowed
         │   └─ EmptyQuery
         ├─ InternalError         500 a fault of ours
         ├─ UpstreamError         502 what the backend answered is of no use
         │   ├─ UpstreamKeyRejected       401: our key, not the caller's
         │   ├─ UpstreamForbidden         403
         │   ├─ UpstreamPaymentRequired   402
         │   ├─ UpstreamNotFound          404
         │   ├─ UpstreamConflict          409
         │   ├─ UpstreamPrecondition      412
         │   └─ UpstreamGarbled           an answer that can't be read
         ├─ UpstreamRefused       422 the backend found the request invalid (400, 422)
         ├─ UpstreamTooLarge      413 the backend found the request too large
         ├─ Unavailable           503 nobody could answer just now
         │   ├─ UpstreamRateLimited       429
         │   ├─ UpstreamUnavailable       5xx
         │   ├─ UpstreamUnreachable       no connection
         │   ├─ UpstreamCircuitOpen       not even asked: it has failed again and again
         │   ├─ Overloaded                more is asked of us than we can answer
         │   ├─ JobsUnavailable           the database of the imports, or their disk
         │   ├─ TooSlow                   a reader of a stream who does not keep up with it
         │   └─ NoLegAnswered             every leg failed, each in its own way
         ├─ StorageFull           507 there is no space to write to
         └─ DeadlineExceeded      504
             └─ UpstreamTimeout
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldFault:
    """What is wrong with one field: where it stands and what is allowed there."""

    loc: tuple[str | int, ...]
    msg: str


class CascadeError(Exception):
    """Any failure that Cascade names."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class StartupFailed(CascadeError):
    """The service can't start; the sentence names the setting and the way out."""


class CommandFailed(CascadeError):
    """A command can't do what it was asked to; the sentence says what to change."""


class RequestError(CascadeError):
    """A failure with a status, a code and a sentence, fit to be shown to the caller."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        detail: str,
        *,
        faults: Sequence[FieldFault] = (),
        retry_after: float | None = None,
        tries: int = 1,
    ) -> None:
        super().__init__(detail)
        self.faults = tuple(faults)
        self.retry_after = retry_after
        self.tries = tries  # calls to an upstream that it took to find out

    @classmethod
    def codes(cls) -> set[str]:
        """Its own, and those of its kinds."""
        return {cls.code}.union(*(child.codes() for child in cls.__subclasses__()))


class BadRequest(RequestError):
    status, code = 400, "bad_request"


class KeyMissing(RequestError):
    status, code = 401, "key_missing"


class KeyRejected(RequestError):
    status, code = 401, "key_rejected"


class WritesClosed(RequestError):
    status, code = 403, "writes_closed"


class OriginRefused(RequestError):
    status, code = 403, "origin_refused"


class NotFound(RequestError):
    status, code = 404, "not_found"


class MethodNotAllowed(RequestError):
    status, code = 405, "method_not_allowed"


class BodyTimeout(RequestError):
    status, code = 408, "body_timeout"


class CursorExpired(RequestError):
    status, code = 410, "cursor_expired"


class BodyTooLarge(RequestError):
    status, code = 413, "body_too_large"


class UnsupportedMediaType(RequestError):
    status, code = 415, "unsupported_media_type"


class InvalidRequest(RequestError):
    status, code = 422, "invalid_request"


class EmptyQuery(InvalidRequest):
    code = "empty_query"


class InternalError(RequestError):
    pass


class UpstreamError(RequestError):
    status, code = 502, "upstream_error"


class UpstreamKeyRejected(UpstreamError):
    code = "upstream_key_rejected"


class UpstreamForbidden(UpstreamError):
    code = "upstream_forbidden"


class UpstreamPaymentRequired(UpstreamError):
    code = "upstream_payment_required"


class UpstreamNotFound(UpstreamError):
    code = "upstream_not_found"


class UpstreamConflict(UpstreamError):
    code = "upstream_conflict"


class UpstreamPrecondition(UpstreamError):
    code = "upstream_precondition"


class UpstreamGarbled(UpstreamError):
    code = "upstream_garbled"


class UpstreamRefused(RequestError):
    status, code = 422, "upstream_refused"


class UpstreamTooLarge(RequestError):
    status, code = 413, "upstream_too_large"


class Unavailable(RequestError):
    status, code = 503, "unavailable"


class UpstreamRateLimited(Unavailable):
    code = "upstream_rate_limited"


class UpstreamUnavailable(Unavailable):
    code = "upstream_unavailable"


class UpstreamUnreachable(Unavailable):
    code = "upstream_unreachable"


class UpstreamCircuitOpen(Unavailable):
    code = "upstream_circuit_open"


class Overloaded(Unavailable):
    code = "overloaded"


class JobsUnavailable(Unavailable):
    code = "jobs_unavailable"


class TooSlow(Unavailable):
    code = "too_slow"


class NoLegAnswered(Unavailable):
    code = "no_leg_answered"


class StorageFull(RequestError):
    status, code = 507, "storage_full"


class DeadlineExceeded(RequestError):
    status, code = 504, "deadline_exceeded"


class UpstreamTimeout(DeadlineExceeded):
    code = "upstream_timeout"
