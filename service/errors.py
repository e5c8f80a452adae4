"""The errors of the service, in one tree.

A class has the HTTP status, the stable code and the meaning of its errors; the documentation's
table of errors is generated from them. The sentence that a person reads is written where the error
is raised.

    CascadeError
     ├─ StartupFailed
     ├─ CommandFailed
     └─ RequestError
         ├─ BadRequest
         ├─ KeyMissing
         ├─ KeyRejected
         ├─ WritesClosed
         ├─ OriginRefused
         ├─ NotFound
         ├─ MethodNotAllowed
         ├─ BodyTimeout
         ├─ CursorExpired
         ├─ BodyTooLarge
         ├─ UnsupportedMediaType
         ├─ InvalidRequest
         │   └─ EmptyQuery
         ├─ InternalError
         ├─ UpstreamError
         │   ├─ UpstreamKeyRejected
         │   ├─ UpstreamForbidden
         │   ├─ UpstreamPaymentRequired
         │   ├─ UpstreamNotFound
         │   ├─ UpstreamConflict
         │   ├─ UpstreamPrecondition
         │   └─ UpstreamGarbled
         ├─ UpstreamRefused
         ├─ UpstreamTooLarge
         ├─ Unavailable
         │   ├─ UpstreamRateLimited
         │   ├─ UpstreamUnavailable
         │   ├─ UpstreamUnreachable
         │   ├─ UpstreamCircuitOpen
         │   ├─ Overloaded
         │   ├─ JobsUnavailable
         │   ├─ TooSlow
         │   └─ NoLegAnswered
         ├─ StorageFull
         └─ DeadlineExceeded
             └─ UpstreamTimeout
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class InvalidField:
    """The path of an invalid field, and what is allowed there."""

    loc: tuple[str | int, ...]
    msg: str


class CascadeError(Exception):
    """Base class of the errors that Cascade raises on purpose."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class StartupFailed(CascadeError):
    """The process can't serve: the command line prints one line and exits with status 1."""


class CommandFailed(CascadeError):
    """A command can't do its work: one line and exit status 1, too."""


class RequestError(CascadeError):
    """An error response: its status, its code and a sentence for the client."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        detail: str,
        *,
        invalid_fields: Sequence[InvalidField] = (),
        retry_after: float | None = None,
        tries: int = 1,
    ) -> None:
        super().__init__(detail)
        self.invalid_fields = tuple(invalid_fields)
        self.retry_after = retry_after
        self.tries = tries  # calls to the upstream, the failed ones included

    @classmethod
    def codes(cls) -> set[str]:
        """The codes of this class and of its subclasses."""
        return {cls.code}.union(*(child.codes() for child in cls.__subclasses__()))


class BadRequest(RequestError):
    """The request could not be parsed."""

    status, code = 400, "bad_request"


class KeyMissing(RequestError):
    """The request has no API key, and the service requires one."""

    status, code = 401, "key_missing"


class KeyRejected(RequestError):
    """The API key of the request is not one of the service."""

    status, code = 401, "key_rejected"


class WritesClosed(RequestError):
    """The service has no API keys, so it accepts writes only over loopback."""

    status, code = 403, "writes_closed"


class OriginRefused(RequestError):
    """The request came from a web page of an origin that is not allowed."""

    status, code = 403, "origin_refused"


class NotFound(RequestError):
    """There is no such route or resource."""

    status, code = 404, "not_found"


class MethodNotAllowed(RequestError):
    """The route does not support this method."""

    status, code = 405, "method_not_allowed"


class BodyTimeout(RequestError):
    """The request body did not arrive in time."""

    status, code = 408, "body_timeout"


class CursorExpired(RequestError):
    """The cursor is invalid or has expired; run the search again."""

    status, code = 410, "cursor_expired"


class BodyTooLarge(RequestError):
    """The request body is larger than the limit of its route."""

    status, code = 413, "body_too_large"


class UnsupportedMediaType(RequestError):
    """The route does not accept this media type or content encoding."""

    status, code = 415, "unsupported_media_type"


class InvalidRequest(RequestError):
    """The request was parsed and has values that are not allowed."""

    status, code = 422, "invalid_request"


class EmptyQuery(InvalidRequest):
    """The search query is empty."""

    code = "empty_query"


class InternalError(RequestError):
    """The service failed because of a bug; its log has the traceback."""


class UpstreamError(RequestError):
    """The backend failed in a way that has no code of its own."""

    status, code = 502, "upstream_error"


class UpstreamKeyRejected(UpstreamError):
    """The backend rejected the service's API key."""

    code = "upstream_key_rejected"


class UpstreamForbidden(UpstreamError):
    """The backend does not allow the service's API key to do this."""

    code = "upstream_forbidden"


class UpstreamPaymentRequired(UpstreamError):
    """The backend requires a payment or a larger plan."""

    code = "upstream_payment_required"


class UpstreamNotFound(UpstreamError):
    """The backend has no such index or namespace."""

    code = "upstream_not_found"


class UpstreamConflict(UpstreamError):
    """The request conflicts with the state of the backend."""

    code = "upstream_conflict"


class UpstreamPrecondition(UpstreamError):
    """A precondition of the backend is not met."""

    code = "upstream_precondition"


class UpstreamGarbled(UpstreamError):
    """The response of the backend could not be parsed."""

    code = "upstream_garbled"


class UpstreamRefused(RequestError):
    """The backend found the request invalid."""

    status, code = 422, "upstream_refused"


class UpstreamTooLarge(RequestError):
    """The request is larger than the backend accepts."""

    status, code = 413, "upstream_too_large"


class Unavailable(RequestError):
    """The service cannot answer at the moment; try again after `Retry-After`."""

    status, code = 503, "unavailable"


class UpstreamRateLimited(Unavailable):
    """The rate limit of the backend was reached."""

    code = "upstream_rate_limited"


class UpstreamUnavailable(Unavailable):
    """The backend is temporarily unavailable."""

    code = "upstream_unavailable"


class UpstreamUnreachable(Unavailable):
    """No connection to the backend could be made, or it was lost."""

    code = "upstream_unreachable"


class UpstreamCircuitOpen(Unavailable):
    """The backend failed repeatedly, so it is not called for a while."""

    code = "upstream_circuit_open"


class Overloaded(Unavailable):
    """The service has more requests than it can answer, and shed this one."""

    code = "overloaded"


class JobsUnavailable(Unavailable):
    """The database or the disk of the import jobs can't be used."""

    code = "jobs_unavailable"


class TooSlow(Unavailable):
    """The client reads a stream more slowly than it is produced."""

    code = "too_slow"


class NoLegAnswered(Unavailable):
    """Every leg of the search failed."""

    code = "no_leg_answered"


class StorageFull(RequestError):
    """There is no disk space to write to."""

    status, code = 507, "storage_full"


class DeadlineExceeded(RequestError):
    """The request was not finished before its deadline."""

    status, code = 504, "deadline_exceeded"


class UpstreamTimeout(DeadlineExceeded):
    """The backend did not respond before the deadline."""

    code = "upstream_timeout"
