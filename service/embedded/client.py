"""A real `pinecone.AsyncIndex` that leads to an embedded index instead of a host.

So its arguments, checks, answers and exceptions are the client's own, method by method. Only the
last step is another one: where the client would send a request, the data plane is called. It rests
on the same inner names of the client as `indexes/transport.py`.
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

HOST = "http://localhost"  # which nothing is ever sent to
JSON = httpx.Headers({"content-type": "application/json"})


class EngineHTTPClient(AsyncHTTPClient):
    """The client's `AsyncHTTPClient`, that asks the data plane in the process."""

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
        """The index is closed by whoever opened it."""

    async def ask(
        self, method: str, path: str, timeout: float | None, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The body of the answer; what is refused is raised as the client raises it."""
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
        raise NotImplementedError("an embedded index sends nothing over a network")

    async def _respond(
        self, method: str, path: str, timeout: float | None, given: Mapping[str, Any]
    ) -> httpx.Response:
        answered = await self.ask(method, path, timeout, given)
        return httpx.Response(200, headers=JSON, content=orjson.dumps(answered))


class EmbeddedDocuments(AsyncDocuments):
    """`index.documents`; a `text` clause may also say `typos`, which Pinecone does not know."""

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
        """The client's own, but for `typos`, and that the answer is not made JSON and read back."""
        validate_timeout("timeout", timeout)
        segment = _encode_document_namespace(namespace)
        typos, plain = _without_typos(score_by)
        body = _build_search_documents_body(
            score_by=plain, top_k=top_k, include_fields=include_fields, filter=filter
        )
        for at, value in typos.items():
            body["score_by"][at]["typos"] = value
        path = f"/namespaces/{segment}/documents/search"
        answered = await self._engine.ask("POST", path, timeout, {"json": body})
        info = ResponseInfo(raw_headers=dict(JSON))
        return SearchDocumentsResponse.from_dict(answered, response_info=info)


def _without_typos(score_by: Any) -> tuple[dict[int, Any], Any]:
    """What the clauses say of typos, by their place, and the clauses without it."""
    if not isinstance(score_by, list | tuple):
        return {}, score_by  # for the client to judge
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
    """The embedded index as the port has it. The `reranker` is for `search(rerank=…)`."""

    def __init__(self, index: EmbeddedIndex, reranker: Reranker | None = None) -> None:
        super().__init__(host=HOST, api_key="embedded")
        self.embedded = index
        engine = EngineHTTPClient(self._config, index, reranker)
        self._http = engine
        self._documents = EmbeddedDocuments(http=engine, host=HOST)
