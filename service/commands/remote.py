"""The service behind `--url`, by the Python client.

The errors of the client become those of the commands. The client does not retry: a load has a retry
policy of its own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

from dotenv import dotenv_values

from service import client
from service.client.endpoints import SEARCH_PATHS
from service.errors import (
    BodyTooLarge,
    CommandFailed,
    InvalidRequest,
    RequestError,
    UpstreamGarbled,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from service.indexes.records import WriteCounts
from service.ingest.target import Failure, WriteResult
from service.retrieval.query import Mode
from service.settings import Settings

KEY_VARIABLE = "SERVICE_API_KEY"
RECORDS = "/api/records"
KEYS_PATH = "/api/keys"
BATCH_SIZE = 96
TIMEOUT_S = 60.0
UNAUTHORIZED = {401, 403}
NO_SUCH_ROUTE = {404, 405}
ERRORS: dict[int, type[RequestError]] = {
    413: BodyTooLarge,
    422: InvalidRequest,
    429: UpstreamRateLimited,
    504: UpstreamTimeout,
    **dict.fromkeys((408, 500, 502, 503), UpstreamUnavailable),
}


class RemoteKeys:
    """The API keys of the service."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    async def create(self, rights: Mapping[str, Any]) -> dict[str, Any]:
        with self._remote.map_errors(KEYS_PATH):
            created = await self._remote.client.create_key(**rights)
        return dict(created.raw)

    async def list(self) -> Sequence[dict[str, Any]]:
        with self._remote.map_errors(KEYS_PATH):
            return [dict(each.raw) for each in await self._remote.client.keys()]

    async def revoke(self, id: str) -> dict[str, Any]:
        with self._remote.map_errors(KEYS_PATH):
            return dict((await self._remote.client.revoke_key(id)).raw)

    async def rotate(self, id: str, grace_s: int) -> dict[str, Any]:
        with self._remote.map_errors(KEYS_PATH):
            return dict((await self._remote.client.rotate_key(id, grace_s=grace_s)).raw)


class Remote:
    """Records go to the service, and searches are answered by it."""

    batch_size = BATCH_SIZE

    def __init__(self, url: str, key: str | None, text_field: str) -> None:
        self.text_field = text_field
        self._url = check_url(url)
        self._has_key = bool(key)
        try:
            self.client = client.AsyncSearchClient(self._url, key, timeout=TIMEOUT_S, retries=0)
        except client.InvalidArgument as exc:
            raise CommandFailed(f"{KEY_VARIABLE}: {exc}") from exc

    @property
    def keys(self) -> RemoteKeys:
        return RemoteKeys(self)

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> WriteResult:
        with self.map_errors(RECORDS):
            written = await self.client.upsert(records, namespace=namespace or None)
        failures = [
            Failure(each.id, each.index, each.code, each.detail) for each in written.failures
        ]
        if not all(0 <= failure.index < len(records) for failure in failures):
            raise UpstreamGarbled(f"{self._url} reports failures of records that were not sent")
        counts = WriteCounts(written.created or 0, written.replaced or 0, written.unchanged or 0)
        return WriteResult(written.written, failures, counts)

    async def search(self, mode: Mode, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer as the API sent it."""
        options: Any = {name: value for name, value in body.items() if name != "text_query"}
        with self.map_errors(SEARCH_PATHS[mode]):
            answer = await self.client.search(body["text_query"], mode=mode, **options)
        return dict(answer.raw)

    @contextlib.contextmanager
    def map_errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except client.ApiError as exc:
            self._raise(exc, path)
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

    def _raise(self, error: client.ApiError, path: str) -> NoReturn:
        status, detail = error.status, error.detail
        if status in ERRORS:
            raise ERRORS[status](detail, retry_after=error.retry_after) from error
        if status in UNAUTHORIZED:
            way = "set it to a key that may" if self._has_key else "it is not set"
            raise CommandFailed(f"{detail} ({KEY_VARIABLE}: {way})") from error
        if status in NO_SUCH_ROUTE:
            sentence = f"{self._url} has no {path}: is it a Cascade, and a recent one?"
            raise CommandFailed(sentence) from error
        raise CommandFailed(detail) from error


@contextlib.asynccontextmanager
async def open_remote(settings: Settings, url: str) -> AsyncIterator[Remote]:
    """Check that a service answers there: a load would retry a wrong URL for long."""
    remote = Remote(url, key_from_environment(), settings.pinecone_text_field)
    async with remote.client:
        try:
            await remote.client.healthz()
        except client.ConnectionFailed as exc:
            raise CommandFailed(str(exc)) from exc
        except client.SearchClientError:
            pass  # an HTTP error is an answer, too
        yield remote


def key_from_environment() -> str | None:
    """The key, from the environment or `.env` as the settings are.

    It is no argument, because every process on the machine can read those.
    """
    given = os.environ.get(KEY_VARIABLE) or dotenv_values(".env").get(KEY_VARIABLE)
    return (given or "").strip() or None


def check_url(url: str) -> str:
    """Return the URL without a slash at its end, or raise `CommandFailed`."""
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
