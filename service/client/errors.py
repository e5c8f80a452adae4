"""Everything that a client raises, as one tree.

Knows nothing of HTTP libraries. What is wrong with an argument is raised before anything is sent;
what the service answers is told in its own sentence; what the wire does is told as what it means.
No key is ever in any of it.

    SearchClientError
     ├─ InvalidArgument       what was given can't be sent (a ValueError, too)
     ├─ ConnectionFailed      the connection broke, or was closed too soon
     │   └─ NotConnected      it was never made: nothing was sent
     ├─ TimedOut              no answer within `timeout`
     ├─ GarbledAnswer         an answer that can't be read: is it a Cascade?
     ├─ IncompleteExport      an export that broke off; what came of it is not all
     ├─ ImportFailed          an import ended as failed or cancelled; `job` says why
     └─ ApiError              the service says no: status, code, detail, request_id, errors
         ├─ Invalid           400, 413, 415, 422: not like this
         │   └─ TooLarge      413: not so much at once
         ├─ Unauthorized      401: a key is missing, or is none
         ├─ Forbidden         403: nobody may, or not from here
         ├─ NotFound          404
         ├─ CursorExpired     410: search again
         ├─ ServiceFailed     500 and whatever else is a fault of the service
         ├─ Unavailable       502, 503: not just now; `retry_after` may say when
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
    """Any failure of a client."""


class InvalidArgument(SearchClientError, ValueError):
    """What was given can't be sent."""


class ConnectionFailed(SearchClientError):
    """The connection broke, or was closed too soon."""


class NotConnected(ConnectionFailed):
    """The connection was never made, so nothing was sent."""


class TimedOut(SearchClientError):
    """No answer within `timeout`."""


class GarbledAnswer(SearchClientError):
    """An answer that can't be read."""


class IncompleteExport(SearchClientError):
    """An export that broke off; what came of it is not all."""


class ImportFailed(SearchClientError):
    """An import ended, but not well."""

    def __init__(self, detail: str, job: Job) -> None:
        super().__init__(detail)
        self.job = job


@dataclass(frozen=True, slots=True)
class FieldFault:
    """What is wrong with one field: where it stands, and what is allowed there."""

    loc: tuple[str | int, ...]
    msg: str


class ApiError(SearchClientError):
    """The service says no.

    `code` is a stable name, and empty where something in front of the service answered. `status`
    is 0 where the answer had begun before, so that there was none to be told.
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
    """Not like this."""


class TooLarge(Invalid):
    """Not so much at once."""


class Unauthorized(ApiError):
    """A key is missing, or is none."""


class Forbidden(ApiError):
    """Nobody may do this, or not from here."""


class NotFound(ApiError):
    """It is not there."""


class CursorExpired(ApiError):
    """The ranking that it leads on in is not kept any more: search again."""


class ServiceFailed(ApiError):
    """A fault of the service."""


class Unavailable(ApiError):
    """Not just now."""


class Overloaded(Unavailable):
    """More is asked of the service than it can answer."""


class StorageFull(ApiError):
    """The service has no space to write to."""


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
    "key_missing": Unauthorized,
    "key_rejected": Unauthorized,
    "not_found": NotFound,
    "cursor_expired": CursorExpired,
    "internal_error": ServiceFailed,
    "overloaded": Overloaded,
    "storage_full": StorageFull,
    "deadline_exceeded": DeadlineExceeded,
    "upstream_timeout": DeadlineExceeded,
}
SERVER_FAULTS = 500


def kind_of(status: int, code: str) -> type[ApiError]:
    """Which error it is. Within a stream there is no status, and the code alone says it."""
    if status == 0:
        return _BY_CODE.get(code, Unavailable)
    if code == "overloaded":
        return Overloaded
    return _BY_STATUS.get(status, ServiceFailed if status >= SERVER_FAULTS else ApiError)
