"""Where httpx ends and the client begins: its responses and exceptions become ours, here alone.

The key is put into a header here, and taken out of whatever the service says about it.
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

from service.client.answers import decoded
from service.client.call import EVENTS, JSON, Call
from service.client.errors import (
    ApiError,
    ConnectionFailed,
    FieldFault,
    GarbledAnswer,
    InvalidArgument,
    NotConnected,
    TimedOut,
    kind_of,
)
from service.client.sse import ServerEvent

CONNECT_S = 5.0
MAX_RETRY_AFTER_S = 3600.0
BLOT = "[secret]"


class Seam:
    """One service's address and key, and how to speak of it."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = _checked_url(url)
        self._key = _checked_key(key)

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Accept": JSON, "User-Agent": "cascade-client"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return headers

    @contextlib.contextmanager
    def mapped(self) -> Iterator[None]:
        """What httpx raises in the block is raised as what it means."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            sentence = f"Nothing answers at {self.url} ({_words(exc)}): is the service running?"
            raise NotConnected(sentence) from exc
        except httpx.TimeoutException as exc:
            raise TimedOut(f"{self.url} did not answer in time") from exc
        except httpx.DecodingError as exc:
            raise GarbledAnswer(f"{self.url} answers with what can't be unpacked") from exc
        except (httpx.TransportError, httpx.StreamError) as exc:
            sentence = f"The connection to {self.url} broke ({_words(exc)})"
            raise ConnectionFailed(sentence) from exc
        except httpx.InvalidURL as exc:
            raise InvalidArgument(f"It makes an address that can't be asked: {exc}") from exc
        except WebSocketDisconnect as exc:
            why = self._without_key(exc.reason) or "no reason given"
            sentence = f"{self.url} has closed the connection ({exc.code}: {why})"
            raise ConnectionFailed(sentence) from exc
        except WebSocketInvalidTypeReceived as exc:
            raise GarbledAnswer(f"{self.url} says something that is no text") from exc
        except LocalProtocolError as exc:  # which repeats all that was to be sent
            raise ConnectionFailed(f"The connection to {self.url} is closed") from exc
        except (HTTPXWSException, ProtocolError) as exc:
            sentence = f"The connection to {self.url} broke ({_words(exc)})"
            raise ConnectionFailed(sentence) from exc

    def refusal(self, response: httpx.Response) -> ApiError:
        """The error that a response is, whose body has been read."""
        status = response.status_code
        try:
            said = decoded(response.content)
        except GarbledAnswer:
            said = None
        if isinstance(said, dict) and isinstance(said.get("detail"), str):
            return self.error(said, status, _retry_after(response.headers))
        sentence = f"{self.url} answers with status {status}"
        return kind_of(status, "")(
            sentence, status=status, retry_after=_retry_after(response.headers)
        )

    def error(self, said: Any, status: int = 0, retry_after: float | None = None) -> ApiError:
        """The error that the service tells in its one shape, wherever it tells it."""
        try:
            told = msgspec.convert(said, _Told)
        except msgspec.ValidationError:
            told = _Told("The service tells of an error, but not of which")
        return kind_of(status, told.code)(
            self._without_key(told.detail),
            status=status,
            code=told.code,
            request_id=told.request_id,
            errors=[FieldFault(each.loc, self._without_key(each.msg)) for each in told.errors],
            retry_after=told.retry_after if retry_after is None else retry_after,
        )

    def check_events(self, response: httpx.Response) -> None:
        """Whether a response is a stream of events at all."""
        if not response.headers.get("Content-Type", "").startswith(EVENTS):
            raise GarbledAnswer(f"{self.url} does not answer with events: is it a Cascade?")

    def check_event(self, event: ServerEvent) -> None:
        """One that tells of an error is that error."""
        if event.name == "error":
            raise self.error(decoded(event.data))

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, BLOT) if self._key else text


class _Told(msgspec.Struct):
    detail: str
    code: str = ""
    request_id: str = ""
    errors: tuple[FieldFault, ...] = ()
    retry_after: float | None = None  # where there is no header for it


def timeouts(call: Call[Any], timeout: float, left: float) -> httpx.Timeout:
    """For each step of one try: what is left of its time, or, of a long one, each silence."""
    step = timeout if call.long else left
    return httpx.Timeout(step, read=call.silence_s or step, connect=min(left, CONNECT_S), pool=left)


def _checked_url(url: str) -> str:
    """A URL that can be asked, without a slash at its end."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, TypeError, AttributeError):
        usable = False
    if not usable or parts.query or parts.fragment or not url.isprintable():
        raise InvalidArgument("the URL must be an address such as http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise InvalidArgument("the URL must not hold a password; the key is an argument of its own")
    return url.rstrip("/")


def _checked_key(key: str | None) -> str | None:
    if key and not re.fullmatch(r"[\x21-\x7e]+", key):
        raise InvalidArgument("the key has spaces, line breaks or characters outside ASCII")
    return key or None


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds, or a date, as a proxy may send it."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(float(value), MAX_RETRY_AFTER_S)
    with contextlib.suppress(ValueError, OverflowError):
        seconds = parsedate_to_datetime(value).timestamp() - time.time()
        return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
    return None


def _words(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
