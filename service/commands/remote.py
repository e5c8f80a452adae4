"""A Cascade behind its API: records go to it, searches come from it.

Stands on the client that everybody may use, and says what that says in the terms of the commands.
Trying again is not its matter. The API may be that of an app in this process (see `local`): then no
bytes leave it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

import httpx

from service import client
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
from service.retrieval.query import Mode
from service.web.search.routes import PATHS

KEY_VARIABLE = "SERVICE_API_KEY"
RECORDS = "/api/records"
BATCH_SIZE = 96
TIMEOUT_S = 60.0
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
        self._has_key = bool(key)
        try:
            self._client = client.AsyncSearchClient(
                self._url, key, timeout=TIMEOUT_S, retries=0, transport=transport
            )
        except client.InvalidArgument as exc:
            raise CommandFailed(f"{KEY_VARIABLE}: {exc}") from exc

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Remote]:
        """See that somebody is there, so that a wrong address is not found out by trying long."""
        async with self._client:
            try:
                await self._client.healthz()
            except client.ConnectionFailed as exc:
                raise CommandFailed(str(exc)) from exc
            except client.SearchClientError:
                pass  # what it makes of a request is seen when there is one
            yield self

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> Written:
        with self._told(RECORDS):
            written = await self._client.upsert(records, namespace=namespace or None)
        failures = [
            Failure(each.id, each.index, each.code, each.detail) for each in written.failures
        ]
        if not all(0 <= failure.index < len(records) for failure in failures):
            raise UpstreamGarbled(f"{self._url} speaks of records that it was not given")
        return Written(written.written, failures)

    async def search(self, mode: Mode, body: Mapping[str, Any]) -> dict[str, Any]:
        """The API's answer, as it came."""
        options: Any = {name: value for name, value in body.items() if name != "text_query"}
        with self._told(PATHS[mode]):
            answer = await self._client.search(body["text_query"], mode=mode, **options)
        return dict(answer.raw)

    @contextlib.contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except client.ApiError as exc:
            self._refuse(exc, path)
        except client.TimedOut as exc:
            raise UpstreamTimeout(str(exc)) from exc
        except client.ConnectionFailed as exc:
            raise UpstreamUnreachable(str(exc)) from exc
        except client.GarbledAnswer as exc:
            raise UpstreamGarbled(
                f"{self._url} answers what this command can't read: {exc}"
            ) from exc
        except client.SearchClientError as exc:
            raise CommandFailed(str(exc)) from exc

    def _refuse(self, refusal: client.ApiError, path: str) -> NoReturn:
        status, said = refusal.status, refusal.detail
        if status == STATUS_LIMITED:
            raise UpstreamRateLimited(said, retry_after=refusal.retry_after) from refusal
        if status in TRY_AGAIN:
            raise UpstreamUnavailable(said, retry_after=refusal.retry_after) from refusal
        if status == STATUS_LATE:
            raise UpstreamTimeout(said) from refusal
        if status == STATUS_TOO_LARGE:
            raise BodyTooLarge(said) from refusal
        if status == STATUS_REFUSED:
            raise InvalidRequest(said) from refusal
        if status in KEY_TROUBLE:
            way = "set it to a key that may" if self._has_key else "it is not set"
            raise CommandFailed(f"{said} ({KEY_VARIABLE}: {way})") from refusal
        if status in NOWHERE:
            sentence = f"{self._url} has no {path}: is it a Cascade, and a recent one?"
            raise CommandFailed(sentence) from refusal
        raise CommandFailed(said) from refusal


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
