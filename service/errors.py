"""The errors of the service, in one tree.

A class has the HTTP status, the stable code and the meaning of its errors; the documentation's
table of errors is generated from them. The sentence that a person reads is written where the error
is raised.

    CascadeError
     ├─ StartupFailed
     ├─ CommandFailed
     └─ RequestError
         ├─ BadRequest
         │   └─ MalformedRequest
         ├─ KeyMissing
         ├─ KeyRejected
         ├─ WritesClosed
         ├─ OriginRefused
         ├─ Forbidden
         ├─ MetricsClosed
         ├─ NotFound
         ├─ MethodNotAllowed
         ├─ BodyTimeout
         ├─ CursorExpired
         ├─ BodyTooLarge
         ├─ AnswerTooLarge
         ├─ UnsupportedMediaType
         ├─ InvalidRequest
         │   └─ EmptyQuery
         ├─ RateLimited
         │   └─ QuotaExceeded
         ├─ HeadersTooLarge
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
         │   └─ TooManyFields
         ├─ UpstreamTooLarge
         ├─ Unavailable
         │   ├─ UpstreamRateLimited
         │   ├─ UpstreamUnavailable
         │   ├─ UpstreamUnreachable
         │   ├─ UpstreamCircuitOpen
         │   ├─ Overloaded
         │   ├─ Stopping
         │   ├─ JobsUnavailable
         │   ├─ KeysUnavailable
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

    def __init_subclass__(cls, *, status: int | None = None, code: str | None = None) -> None:
        """What a subclass does not name, it inherits."""
        cls.status, cls.code = status or cls.status, code or cls.code

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


class BadRequest(RequestError, status=400, code="bad_request"):
    """The request could not be parsed."""


class MalformedRequest(BadRequest, code="malformed_request"):
    """The request is not valid HTTP/1.1, or the handshake of a WebSocket is not valid."""


class KeyMissing(RequestError, status=401, code="key_missing"):
    """The request has no API key, and the service requires one."""


class KeyRejected(RequestError, status=401, code="key_rejected"):
    """The API key of the request is not one of the service."""


class WritesClosed(RequestError, status=403, code="writes_closed"):
    """The service has no API keys, so it accepts writes only over loopback."""


class OriginRefused(RequestError, status=403, code="origin_refused"):
    """The request came from a web page of an origin that is not allowed."""


class Forbidden(RequestError, status=403, code="forbidden"):
    """The API key is valid, but does not allow this."""


class MetricsClosed(RequestError, status=403, code="metrics_closed"):
    """The metrics are closed to the address of the caller."""


class NotFound(RequestError, status=404, code="not_found"):
    """There is no such route or resource."""


class MethodNotAllowed(RequestError, status=405, code="method_not_allowed"):
    """The route does not support this method."""


class BodyTimeout(RequestError, status=408, code="body_timeout"):
    """The request body did not arrive in time."""


class CursorExpired(RequestError, status=410, code="cursor_expired"):
    """The cursor is invalid or has expired; run the search again."""


class BodyTooLarge(RequestError, status=413, code="body_too_large"):
    """The request body is larger than the limit of its route."""


class AnswerTooLarge(RequestError, status=413, code="answer_too_large"):
    """The results of the search are larger than `MAX_ANSWER_BYTES`."""


class UnsupportedMediaType(RequestError, status=415, code="unsupported_media_type"):
    """The route does not accept this media type or content encoding."""


class InvalidRequest(RequestError, status=422, code="invalid_request"):
    """The request was parsed and has values that are not allowed."""


class EmptyQuery(InvalidRequest, code="empty_query"):
    """The search query is empty."""


class RateLimited(RequestError, status=429, code="rate_limited"):
    """The caller sent too many requests; try again after `Retry-After`."""


class QuotaExceeded(RateLimited, code="quota_exceeded"):
    """The daily quota of the API key does not suffice."""


class HeadersTooLarge(RequestError, status=431, code="headers_too_large"):
    """The request line and the headers are too large; send a long query as a POST."""


class InternalError(RequestError):
    """The service failed because of a bug; its log has the traceback."""


class UpstreamError(RequestError, status=502, code="upstream_error"):
    """The backend failed in a way that has no code of its own."""


class UpstreamKeyRejected(UpstreamError, code="upstream_key_rejected"):
    """The backend rejected the service's API key."""


class UpstreamForbidden(UpstreamError, code="upstream_forbidden"):
    """The backend does not allow the service's API key to do this."""


class UpstreamPaymentRequired(UpstreamError, code="upstream_payment_required"):
    """The backend requires a payment or a larger plan."""


class UpstreamNotFound(UpstreamError, code="upstream_not_found"):
    """The backend has no such index or namespace."""


class UpstreamConflict(UpstreamError, code="upstream_conflict"):
    """The request conflicts with the state of the backend."""


class UpstreamPrecondition(UpstreamError, code="upstream_precondition"):
    """A precondition of the backend is not met."""


class UpstreamGarbled(UpstreamError, code="upstream_garbled"):
    """The response of the backend could not be parsed."""


class UpstreamRefused(RequestError, status=422, code="upstream_refused"):
    """The backend found the request invalid."""


class TooManyFields(UpstreamRefused, code="too_many_fields"):
    """The records of the embedded index have too many different fields."""


class UpstreamTooLarge(RequestError, status=413, code="upstream_too_large"):
    """The request is larger than the backend accepts."""


class Unavailable(RequestError, status=503, code="unavailable"):
    """The service cannot answer at the moment; try again after `Retry-After`."""


class UpstreamRateLimited(Unavailable, code="upstream_rate_limited"):
    """The rate limit of the backend was reached."""


class UpstreamUnavailable(Unavailable, code="upstream_unavailable"):
    """The backend is temporarily unavailable."""


class UpstreamUnreachable(Unavailable, code="upstream_unreachable"):
    """No connection to the backend could be made, or it was lost."""


class UpstreamCircuitOpen(Unavailable, code="upstream_circuit_open"):
    """The backend failed repeatedly, so it is not called for a while."""


class Overloaded(Unavailable, code="overloaded"):
    """The service has more requests than it can answer, and shed this one."""


class Stopping(Unavailable, code="stopping"):
    """The service stopped before it could answer; try again shortly."""


class JobsUnavailable(Unavailable, code="jobs_unavailable"):
    """The database or the disk of the import jobs can't be used."""


class KeysUnavailable(Unavailable, code="keys_unavailable"):
    """The database of the API keys can't be used."""


class TooSlow(Unavailable, code="too_slow"):
    """The client reads a stream more slowly than it is produced."""


class NoLegAnswered(Unavailable, code="no_leg_answered"):
    """Every leg of the search failed."""


class StorageFull(RequestError, status=507, code="storage_full"):
    """There is no disk space to write to."""


class DeadlineExceeded(RequestError, status=504, code="deadline_exceeded"):
    """The request was not finished before its deadline."""


class UpstreamTimeout(DeadlineExceeded, code="upstream_timeout"):
    """The backend did not respond before the deadline."""
