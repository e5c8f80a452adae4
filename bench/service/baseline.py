"""The baseline: the three searches in FastAPI, as Pinecone documents them.

It is the app of Pinecone's article on the asynchronous client. The indexes are opened once, in the
lifespan. Cascading retrieval searches both at once, each with its own rerank, keeps a record that
both found once, with the better score, and sorts. There is no deadline, receipt or fallback.

Nothing slows it down on purpose: uvloop, httptools, no access log. Response types are annotated,
unlike in the article: FastAPI then writes JSON with pydantic in 0.004 ms, otherwise with
`jsonable_encoder` in 0.08 ms. `baseline_stock` and `baseline_aiohttp` each bring a client.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI, HTTPException

NAMESPACE = "__default__"
TOP_K = 10
FIELDS = ["chunk_text"]
RERANK = {"model": "cohere-rerank-3.5", "top_n": TOP_K, "rank_fields": ["chunk_text"]}

Record = dict[str, Any]
IndexT = TypeVar("IndexT")
OpenIndex = Callable[[str], AbstractAsyncContextManager[IndexT]]
Search = Callable[[IndexT, str, dict[str, Any] | None], Awaitable[list[Record]]]


def serve(open_index: OpenIndex[IndexT], search: Search[IndexT]) -> None:
    """Serve on PORT until a signal, with the index hosts of the environment."""
    app = create_app(
        lambda: open_index(os.environ["PINECONE_DENSE_INDEX_HOST"]),
        lambda: open_index(os.environ["PINECONE_SPARSE_INDEX_HOST"]),
        search,
    )
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )


def create_app(
    open_dense: Callable[[], AbstractAsyncContextManager[IndexT]],
    open_sparse: Callable[[], AbstractAsyncContextManager[IndexT]],
    search: Search[IndexT],
) -> FastAPI:
    indexes: dict[str, IndexT] = {}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with open_dense() as indexes["dense"], open_sparse() as indexes["sparse"]:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/api/semantic-search")
    async def semantic_search(text_query: str = "") -> dict[str, Any]:
        _check(text_query)
        return {"results": await search(indexes["dense"], text_query, None)}

    @app.get("/api/lexical-search")
    async def lexical_search(text_query: str = "") -> dict[str, Any]:
        _check(text_query)
        return {"results": await search(indexes["sparse"], text_query, None)}

    @app.get("/api/cascading-retrieval")
    async def cascading_retrieval(text_query: str = "") -> dict[str, Any]:
        _check(text_query)
        dense, sparse = await asyncio.gather(
            search(indexes["dense"], text_query, RERANK),
            search(indexes["sparse"], text_query, RERANK),
        )
        return {"results": once_each(dense + sparse)[:TOP_K]}

    return app


def _check(text_query: str) -> None:
    if not text_query.strip():
        raise HTTPException(status_code=422, detail="Text query cannot be empty")


def once_each(records: list[Record]) -> list[Record]:
    """Sort by score; a repeated record keeps its better score."""
    best: dict[str, Record] = {}
    for record in records:
        known = best.setdefault(record["_id"], record)
        if record["score"] > known["score"]:
            best[record["_id"]] = record
    return sorted(best.values(), key=lambda record: record["score"], reverse=True)
