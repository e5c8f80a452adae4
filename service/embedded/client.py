"""A real `pinecone.AsyncIndex` that leads to an embedded index instead of a host.

So its arguments, checks, answers and exceptions are the client's own, method by method. Only the
last step is another one: where the client would send a request, the data plane is called. It rests
on the same inner names of the client as `indexes/transport.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson
from pinecone import AsyncIndex
from pinecone._internal.config import PineconeConfig
from pinecone._internal.http_client import AsyncHTTPClient, _raise_for_status
from pinecone.async_client.documents import AsyncDocuments
from pinecone.models.documents.responses import SearchDocumentsResponse

from service.embedded.index import EmbeddedIndex
from service.embedded.plane.refusals import Refused
from service.embedded.plane.routes import answer

HOST = "http://localhost"  # which nothing is ever sent to
JSON = httpx.Headers({"content-type": "application/json"})


class EngineHTTPClient(AsyncHTTPClient):
    """The client's `AsyncHTTPClient`, that asks the data plane in the process."""

    def __init__(self, config: PineconeConfig, index: EmbeddedIndex) -> None:
        super().__init__(config, api_version="")
        self._index = index

    async def get(self, path: str, *_: Any, **given: Any) -> httpx.Response:
        return await self._ask("GET", path, given)

    async def post(self, path: str, *_: Any, **given: Any) -> httpx.Response:
        return await self._ask("POST", path, given)

    async def delete(self, path: str, *_: Any, **given: Any) -> httpx.Response:
        return await self._ask("DELETE", path, given)

    async def close(self) -> None:
        """The index is closed by whoever opened it."""

    async def _ask(self, method: str, path: str, given: Mapping[str, Any]) -> httpx.Response:
        body = given.get("json", given.get("content"))
        try:
            answered = await answer(self._index, method, path, given.get("params") or {}, body)
        except Refused as exc:
            refusal = httpx.Response(exc.status, headers=JSON, content=orjson.dumps(exc.body))
            try:
                _raise_for_status(refusal)
            except Exception as raised:
                raise raised from exc
        return httpx.Response(200, headers=JSON, content=orjson.dumps(answered))


class EmbeddedDocuments(AsyncDocuments):
    """`index.documents`; a `text` clause may also say `typos`, which Pinecone does not know."""

    async def search(self, *, score_by: Sequence[Any], **given: Any) -> SearchDocumentsResponse:
        return await super().search(score_by=score_by, **given)


class EmbeddedAsyncIndex(AsyncIndex):
    """The embedded index as the port has it."""

    def __init__(self, index: EmbeddedIndex) -> None:
        super().__init__(host=HOST, api_key="embedded")
        self.embedded = index
        self._http = EngineHTTPClient(self._config, index)
