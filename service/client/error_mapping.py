"""Maps httpx's exceptions and the service's error responses to the client's errors.

No other module catches an exception of httpx. The API key is removed from every sentence, because
the service may repeat it.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from httpx_ws import HTTPXWSException, WebSocketDisconnect, WebSocketInvalidTypeReceived
from wsproto.utilities import LocalProtocolError, ProtocolError

from service.client.call import EVENT_STREAM
from service.client.errors import (
    ApiError,
    ConnectionFailed,
    FieldFault,
    GarbledAnswer,
    InvalidArgument,
    NotConnected,
    TimedOut,
    error_class,
)
from service.client.responses import decode_json
from service.client.sse import ServerSentEvent

MAX_RETRY_AFTER_S = 3600.0
REDACTED = "[secret]"


class ErrorMapping:
    """The error mapping of one service."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        self._key = key

    @contextlib.contextmanager
    def map_exceptions(self) -> Iterator[None]:
        """Raise what httpx raises in the block as one of the client's errors."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            detail = f"Nothing answers at {self.url} ({_reason(exc)}): is the service running?"
            raise NotConnected(detail) from exc
        except httpx.TimeoutException as exc:
            raise TimedOut(f"{self.url} did not answer in time") from exc
        except httpx.DecodingError as exc:
            raise GarbledAnswer(f"{self.url} sent a body that can't be decompressed") from exc
        except httpx.InvalidURL as exc:
            raise InvalidArgument(f"the arguments make an invalid URL: {exc}") from exc
        except WebSocketDisconnect as exc:
            reason = self._redact(exc.reason) or "no reason given"
            detail = f"{self.url} closed the connection ({exc.code}: {reason})"
            raise ConnectionFailed(detail) from exc
        except WebSocketInvalidTypeReceived as exc:
            raise GarbledAnswer(f"{self.url} sent a message that is not text") from exc
        except LocalProtocolError as exc:  # its text repeats the whole message
            raise ConnectionFailed(f"The connection to {self.url} is closed") from exc
        except (httpx.TransportError, httpx.StreamError, HTTPXWSException, ProtocolError) as exc:
            detail = f"The connection to {self.url} broke ({_reason(exc)})"
            raise ConnectionFailed(detail) from exc

    def from_response(self, response: httpx.Response) -> ApiError:
        """The error for a response whose body was read and whose status is not a success."""
        status, retry_after = response.status_code, _retry_after(response.headers)
        try:
            body = decode_json(response.content)
        except GarbledAnswer:
            body = None
        if isinstance(body, dict) and isinstance(body.get("detail"), str):
            return self.from_body(body, status, retry_after)
        detail = f"{self.url} answers with status {status}"
        return error_class(status, "")(detail, status=status, retry_after=retry_after)

    def from_body(self, body: Any, status: int = 0, retry_after: float | None = None) -> ApiError:
        """The error in a body, an event or a message; all of them have the same shape."""
        try:
            error = msgspec.convert(body, _ErrorBody)
        except msgspec.ValidationError:
            error = _ErrorBody("The service reported an error without a description")
        return error_class(status, error.code)(
            self._redact(error.detail),
            status=status,
            code=error.code,
            request_id=error.request_id,
            errors=[FieldFault(each.loc, self._redact(each.msg)) for each in error.errors],
            retry_after=error.retry_after if retry_after is None else retry_after,
        )

    def check_event_stream(self, response: httpx.Response) -> None:
        if not response.headers.get("Content-Type", "").startswith(EVENT_STREAM):
            raise GarbledAnswer(f"{self.url} does not answer with events: is it a Cascade?")

    def raise_error_event(self, event: ServerSentEvent) -> None:
        """Raise the error that an `error` event carries."""
        if event.name == "error":
            raise self.from_body(decode_json(event.data))

    def _redact(self, text: str) -> str:
        return text.replace(self._key, REDACTED) if self._key else text


class _ErrorBody(msgspec.Struct):
    detail: str
    code: str = ""
    request_id: str = ""
    errors: tuple[FieldFault, ...] = ()
    retry_after: float | None = None  # in messages, which have no headers


def check_url(url: str) -> str:
    """The URL of a service, without a trailing slash."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, TypeError, AttributeError):
        is_usable = False
    if not is_usable or parts.query or parts.fragment or not url.isprintable():
        raise InvalidArgument("the URL must be an address such as http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise InvalidArgument("the URL must not contain a password; pass the key as `key`")
    return url.rstrip("/")


def check_key(key: str | None) -> str | None:
    if key and not re.fullmatch(r"[\x21-\x7e]+", key):
        raise InvalidArgument("the key has spaces, line breaks or characters outside ASCII")
    return key or None


def _retry_after(headers: httpx.Headers) -> float | None:
    """`Retry-After` in seconds; it may be a date."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(float(value), MAX_RETRY_AFTER_S)
    with contextlib.suppress(ValueError, OverflowError):
        seconds = parsedate_to_datetime(value).timestamp() - time.time()
        return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
    return None


def _reason(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
