"""A `pinecone.AsyncIndex` over an embedded index, for code that already uses Pinecone's client.

Arguments, checks, responses and exceptions are the client's own, because only its HTTP client is
replaced: requests are handed to `pinecone_api` in the process. It relies on the same private names
of the client as `indexes/transport.py`. The service itself calls the engine without this client.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson
from pinecone import AsyncIndex
from pinecone._internal.config import PineconeConfig
from pinecone._internal.documents_helpers import (
    _build_search_documents_body,
    _encode_document_namespace,
)
from pinecone._internal.http_client import AsyncHTTPClient, _encode_json, _raise_for_status
from pinecone._internal.validation import validate_timeout
from pinecone.async_client.documents import AsyncDocuments
from pinecone.errors import PineconeTimeoutError
from pinecone.models.documents.responses import SearchDocumentsResponse
from pinecone.models.documents.score_by import DocumentScoringMethod
from pinecone.models.response_info import ResponseInfo

from service.embedded.data_directory import opened_index
from service.embedded.errors import EngineError
from service.embedded.index import EmbeddedIndex
from service.embedded.pinecone_api.bodies import error_body
from service.embedded.pinecone_api.routes import answer
from service.embedded.schema import Schema
from service.inference.embedder import Embedder
from service.inference.reranker import Reranker

HOST = "http://localhost"  # the client requires one; nothing is sent to it
JSON = httpx.Headers({"content-type": "application/json"})


class EngineHTTPClient(AsyncHTTPClient):
    """The client's `AsyncHTTPClient`, over the data plane in the process."""

    def __init__(
        self, config: PineconeConfig, index: EmbeddedIndex, reranker: Reranker | None
    ) -> None:
        super().__init__(config, api_version="")
        self._index = index
        self._reranker = reranker

    async def get(self, path: str, timeout: Any = None, **given: Any) -> httpx.Response:
        return await self._respond("GET", path, timeout, given)

    async def post(self, path: str, timeout: Any = None, **given: Any) -> httpx.Response:
        return await self._respond("POST", path, timeout, given)

    async def delete(self, path: str, timeout: Any = None, **given: Any) -> httpx.Response:
        return await self._respond("DELETE", path, timeout, given)

    async def close(self) -> None:
        """The owner of the index closes it."""

    async def call(
        self, method: str, path: str, timeout: float | None, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The response body; an error is raised as the client's own exception."""
        body = _encode_json(given["json"]) if "json" in given else given.get("content", b"")
        seconds = self._config.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                return await answer(
                    self._index, method, path, given.get("params") or {}, body, self._reranker
                )
        except TimeoutError as exc:
            raise PineconeTimeoutError(f"there was no answer in {seconds:g} s") from exc
        except EngineError as exc:
            refusal = httpx.Response(
                exc.status, headers=JSON, content=orjson.dumps(error_body(exc))
            )
            try:
                _raise_for_status(refusal)
            except Exception as raised:
                raise raised from exc
            raise

    def _ensure_client(self) -> httpx.AsyncClient:
        raise NotImplementedError("an embedded index does not send requests over a network")

    async def _respond(
        self, method: str, path: str, timeout: float | None, given: Mapping[str, Any]
    ) -> httpx.Response:
        response = await self.call(method, path, timeout, given)
        return httpx.Response(200, headers=JSON, content=orjson.dumps(response))


class EmbeddedDocuments(AsyncDocuments):
    """`index.documents`, in which a `text` clause may have `typos`, an extension of ours."""

    def __init__(self, *, http: EngineHTTPClient, host: str) -> None:
        super().__init__(http=http, host=host)
        self._engine = http

    async def search(
        self,
        *,
        namespace: str,
        score_by: Sequence[DocumentScoringMethod | Mapping[str, Any]],
        top_k: int,
        include_fields: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> SearchDocumentsResponse:
        """As the client's own, but with `typos`, and without encoding the response."""
        validate_timeout("timeout", timeout)
        segment = _encode_document_namespace(namespace)
        typos, plain = _without_typos(score_by)
        body = _build_search_documents_body(
            score_by=plain, top_k=top_k, include_fields=include_fields, filter=filter
        )
        for at, value in typos.items():
            body["score_by"][at]["typos"] = value
        path = f"/namespaces/{segment}/documents/search"
        response = await self._engine.call("POST", path, timeout, {"json": body})
        info = ResponseInfo(raw_headers=dict(JSON))
        return SearchDocumentsResponse.from_dict(response, response_info=info)


def _without_typos(score_by: Any) -> tuple[dict[int, Any], Any]:
    """The `typos` of the clauses by position, and the clauses without them."""
    if not isinstance(score_by, list | tuple):
        return {}, score_by  # invalid, which the client reports
    typos = {
        at: clause["typos"]
        for at, clause in enumerate(score_by)
        if isinstance(clause, Mapping) and "typos" in clause
    }
    if not typos:
        return typos, score_by
    return typos, [
        {name: value for name, value in clause.items() if name != "typos"}
        if at in typos
        else clause
        for at, clause in enumerate(score_by)
    ]


@contextlib.asynccontextmanager
async def opened_client(
    data_dir: Path, name: str, schema: Schema, embedder: Embedder
) -> AsyncIterator[EmbeddedAsyncIndex]:
    """Own the data directory and open a client of one index in it, until the end of the block."""
    async with opened_index(data_dir, name, schema, embedder) as index:
        yield EmbeddedAsyncIndex(index)


class EmbeddedAsyncIndex(AsyncIndex):
    """The client of an embedded index. `reranker` is used by `search(rerank=…)`."""

    def __init__(self, index: EmbeddedIndex, reranker: Reranker | None = None) -> None:
        super().__init__(host=HOST, api_key="embedded")
        self.embedded = index
        engine = EngineHTTPClient(self._config, index, reranker)
        self._http = engine
        self._documents = EmbeddedDocuments(http=engine, host=HOST)
