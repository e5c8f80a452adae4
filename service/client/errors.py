"""The client's exceptions, as one tree.

No exception contains the API key.

    SearchClientError
     ├─ InvalidArgument       an argument can't be sent; also a ValueError
     ├─ ConnectionFailed      the connection broke, or was closed too early
     │   └─ NotConnected      no connection could be made, so nothing was sent
     ├─ TimedOut              no complete response within the client's timeout
     ├─ GarbledAnswer         a response that can't be parsed: is it a Cascade?
     ├─ IncompleteExport      an export broke off; the part that was received is incomplete
     ├─ ImportFailed          an import failed or was cancelled; `job.detail` has the reason
     └─ ApiError              an error response: status, code, detail, request_id, errors
         ├─ Invalid           400, 413, 415, 422: the request is not valid
         │   └─ TooLarge      413
         ├─ Unauthorized      401: the key is missing or wrong
         ├─ Forbidden         403: the service does not allow this, or not from this origin
         ├─ NotFound          404
         ├─ CursorExpired     410: run the search again
         ├─ ServiceFailed     500, and every other server error
         ├─ Unavailable       502, 503: try again later; `retry_after` may say when
         │   └─ Overloaded    429, or 503 with the code `overloaded`
         ├─ StorageFull       507
         └─ DeadlineExceeded  504: the service ran out of its own time
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.client.models import Job


class SearchClientError(Exception):
    """Base class of all errors."""


class InvalidArgument(SearchClientError, ValueError):
    """An argument can't be sent."""


class ConnectionFailed(SearchClientError):
    """The connection broke, or was closed too early."""


class NotConnected(ConnectionFailed):
    """No connection could be made, so nothing was sent."""


class TimedOut(SearchClientError):
    """No complete response within the client's timeout."""


class GarbledAnswer(SearchClientError):
    """A response that can't be parsed."""


class IncompleteExport(SearchClientError):
    """An export broke off; the part that was received is incomplete."""


class ImportFailed(SearchClientError):
    """An import failed or was cancelled."""

    def __init__(self, detail: str, job: Job) -> None:
        super().__init__(detail)
        self.job = job


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One invalid field: its location in the request, and what is allowed there."""

    loc: tuple[str | int, ...]
    msg: str


class ApiError(SearchClientError):
    """An error response of the service.

    `code` is a stable name; it is empty if a proxy in front of the service answered. `status` is 0
    if the error arrived in a stream or a message.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        code: str = "",
        request_id: str = "",
        errors: Sequence[FieldFault] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.request_id = request_id
        self.errors = tuple(errors)
        self.retry_after = retry_after


class Invalid(ApiError):
    """The request is not valid."""


class TooLarge(Invalid):
    """The request is too large."""


class Unauthorized(ApiError):
    """The key is missing or wrong."""


class Forbidden(ApiError):
    """The service does not allow this, or not from this origin."""


class NotFound(ApiError):
    """The record or import does not exist."""


class CursorExpired(ApiError):
    """The ranking of this cursor was dropped; run the search again."""


class ServiceFailed(ApiError):
    """The service has a bug or a broken configuration."""


class Unavailable(ApiError):
    """The service, or what it depends on, can't answer now."""


class Overloaded(Unavailable):
    """The service receives more requests than it can answer."""


class StorageFull(ApiError):
    """The service has no disk space left."""


class DeadlineExceeded(ApiError):
    """The service ran out of its own time."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    410: CursorExpired,
    413: TooLarge,
    415: Invalid,
    422: Invalid,
    429: Overloaded,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
    507: StorageFull,
}
_BY_CODE: dict[str, type[ApiError]] = {
    "bad_request": Invalid,
    "invalid_request": Invalid,
    "empty_query": Invalid,
    "upstream_refused": Invalid,
    "body_too_large": TooLarge,
    "answer_too_large": TooLarge,
    "key_missing": Unauthorized,
    "key_rejected": Unauthorized,
    "not_found": NotFound,
    "cursor_expired": CursorExpired,
    "internal_error": ServiceFailed,
    "overloaded": Overloaded,
    "rate_limited": Overloaded,
    "quota_exceeded": Overloaded,
    "storage_full": StorageFull,
    "deadline_exceeded": DeadlineExceeded,
    "upstream_timeout": DeadlineExceeded,
}
FIRST_SERVER_ERROR = 500


def error_class(status: int, code: str) -> type[ApiError]:
    """The class for a response. An error in a stream has no status, so its code decides."""
    if status == 0:
        return _BY_CODE.get(code, Unavailable)
    if code == "overloaded":
        return Overloaded
    return _BY_STATUS.get(status, ServiceFailed if status >= FIRST_SERVER_ERROR else ApiError)
