"""A Cascade behind its API: records go to it, searches come from it.

Knows the API's paths and shapes, and none of the service's insides. Trying again is not its matter.
The API may be that of an app in this process (see `local`): then no bytes leave it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from service.errors import (
    BodyTooLarge,
    CommandFailed,
    InvalidRequest,
    UpstreamGarbled,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from service.ingest.target import Failure, Written
from service.logs import BLOT
from service.retrieval.query import Mode
from service.web.search import PATHS

KEY_VARIABLE = "SERVICE_API_KEY"
RECORDS = "/api/records"
BATCH_SIZE = 96
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
MAX_WAIT_S = 3600.0
STATUS_TOO_LARGE, STATUS_REFUSED, STATUS_LIMITED, STATUS_LATE = 413, 422, 429, 504
KEY_TROUBLE = {401, 403}
NOWHERE = {404, 405}
TRY_AGAIN = {408, 500, 502, 503}


class Remote:
    """A client of one service."""

    def __init__(
        self,
        url: str,
        key: str | None,
        text_field: str,
        batch_size: int = BATCH_SIZE,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.text_field = text_field
        self.batch_size = batch_size
        self._url = check_url(url)
        self._key = _check_key(key)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._client = httpx.AsyncClient(
            base_url=self._url, headers=headers, timeout=TIMEOUT, transport=transport
        )

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Remote]:
        """See that somebody is there, so that a wrong address is not found out by trying long."""
        async with self._client:
            try:
                await self._client.get("/healthz")
            except (httpx.TransportError, httpx.InvalidURL) as exc:
                raise CommandFailed(
                    f"Nothing answers at {self._url} ({_words(exc)}): is the service running there?"
                ) from exc
            yield self

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> Written:
        parameters = {"namespace": namespace} if namespace else {}
        answer = _json(await self._post(RECORDS, records, parameters))
        try:
            failures = [
                Failure(each.get("_id"), int(each["index"]), str(each["code"]), str(each["detail"]))
                for each in answer.get("failed", ())
            ]
            written = Written(int(answer["written"]), failures)
        except (LookupError, TypeError, ValueError, AttributeError) as exc:
            raise UpstreamGarbled(f"{self._url} answers what this command can't read") from exc
        if not all(0 <= failure.index < len(records) for failure in failures):
            raise UpstreamGarbled(f"{self._url} speaks of records that it was not given")
        return written

    async def search(self, mode: Mode, body: Mapping[str, Any]) -> dict[str, Any]:
        """The API's answer, as it came."""
        return _json(await self._post(PATHS[mode][0], body, {}))

    async def _post(self, path: str, body: Any, parameters: dict[str, str]) -> httpx.Response:
        content = orjson.dumps(body)
        try:
            answer = await self._client.post(path, content=content, params=parameters)
        except httpx.TimeoutException as exc:
            raise UpstreamTimeout(f"{self._url} did not answer in time") from exc
        except httpx.TransportError as exc:
            raise UpstreamUnreachable(
                f"The connection to {self._url} could not be made or kept ({_words(exc)})"
            ) from exc
        if answer.status_code != httpx.codes.OK:
            self._refuse(answer, path)
        return answer

    def _refuse(self, answer: httpx.Response, path: str) -> None:
        status, said = answer.status_code, self._said(answer)
        if status == STATUS_LIMITED:
            raise UpstreamRateLimited(said, retry_after=_retry_after(answer))
        if status in TRY_AGAIN:
            raise UpstreamUnavailable(said, retry_after=_retry_after(answer))
        if status == STATUS_LATE:
            raise UpstreamTimeout(said)
        if status == STATUS_TOO_LARGE:
            raise BodyTooLarge(said)
        if status == STATUS_REFUSED:
            raise InvalidRequest(said)
        if status in KEY_TROUBLE:
            way = "set it to a key that may" if self._key else "it is not set"
            raise CommandFailed(f"{said} ({KEY_VARIABLE}: {way})")
        if status in NOWHERE:
            raise CommandFailed(f"{self._url} has no {path}: is it a Cascade, and a recent one?")
        raise CommandFailed(said)

    def _said(self, answer: httpx.Response) -> str:
        """The service's own sentence, if it is one; never with our key in it."""
        try:
            detail = orjson.loads(answer.content)["detail"]
        except (orjson.JSONDecodeError, LookupError, TypeError):
            detail = None
        if not isinstance(detail, str):
            return f"{self._url} answers with status {answer.status_code}"
        return detail.replace(self._key, BLOT) if self._key else detail


def key_from_environment() -> str | None:
    """Never from the arguments: every process on the machine can read those."""
    return os.environ.get(KEY_VARIABLE, "").strip() or None


def check_url(url: str) -> str:
    """A URL that can be asked, without a slash at its end."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or not url.isprintable():
        raise CommandFailed("--url must be an address such as http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise CommandFailed(f"--url must not hold a password; the key belongs into {KEY_VARIABLE}")
    return url.rstrip("/")


def _check_key(key: str | None) -> str | None:
    if key and not re.fullmatch(r"[\x21-\x7e]+", key):
        raise CommandFailed(f"{KEY_VARIABLE} has spaces, line breaks or characters outside ASCII")
    return key


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds; a date is not what Cascade sends."""
    value = answer.headers.get("Retry-After", "")
    return min(float(value), MAX_WAIT_S) if re.fullmatch(r"[0-9]{1,9}", value) else None


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        value = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise UpstreamGarbled(f"{answer.url} does not answer with JSON: is it a Cascade?")
    return value


def _words(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
