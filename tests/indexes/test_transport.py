"""The client over the pooled transport, compared call by call with the stock client."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest
from pinecone import AsyncIndex, AsyncPinecone
from pinecone.errors import ApiError, PineconeConnectionError, PineconeError, PineconeTimeoutError

from service.indexes.transport import pooled_http_client
from tests.upstream import API_KEY, Garbage, Hang, Reset, Status, Truncate, Upstream, Wrong

Outcome = tuple[str, Any, Any]

NOT_RETRIED = [400, 401, 402, 403, 404, 409, 412, 413, 418, 422, 501]


def client_pair(upstream: Upstream, index: str = "dense") -> list[AsyncIndex]:
    """The stock client, and one over the pooled transport."""
    stock, pooled = (AsyncIndex(host=upstream.host(index), api_key=API_KEY) for _ in range(2))
    pooled._http = pooled_http_client(pooled._http, 4)
    return [stock, pooled]


async def search_records(index: AsyncIndex) -> Any:
    return await index.search(
        namespace="a b",
        top_k=3,
        inputs={"text": "the cat in winter"},
        filter={"kind": {"$in": ["c", "d"]}},
        fields=["chunk_text"],
        rerank={"model": "bge-reranker-v2-m3", "rank_fields": ["chunk_text"]},
        timeout=2.0,
    )


async def search_documents(index: AsyncIndex) -> Any:
    return await index.documents.search(
        namespace="..",
        score_by=[{"type": "embed", "field": "chunk_text", "query": "the cat"}],
        top_k=3,
        include_fields=["*"],
        timeout=2.0,
    )


async def index_stats(index: AsyncIndex) -> Any:
    return await index.describe_index_stats(timeout=2.0)


async def missing_namespace(index: AsyncIndex) -> Any:
    """A GET, which the client sends through httpx."""
    return await index.describe_namespace(name="nowhere")


CALLS = [search_records, search_documents, index_stats, missing_namespace]


async def outcome(call: Any, index: AsyncIndex) -> Outcome:
    try:
        answer = await call(index)
    except PineconeError as exc:
        if isinstance(exc, ApiError):
            return type(exc).__name__, exc.status_code, (exc.message, exc.error_code, exc.body)
        return type(exc).__name__, None, None
    decoded = answer.to_dict()
    decoded.pop("response_info", None)
    return "answer", decoded, answer.response_info.request_id


@pytest.mark.parametrize("call", CALLS)
async def test_transport_sends_and_returns_the_same_as_the_stock_client(
    upstream: Upstream, call: Any
) -> None:
    outcomes = []
    for index in client_pair(upstream):
        outcomes.append(await outcome(call, index))
        await index.close()
    assert outcomes[0] == outcomes[1]
    stock, pooled = upstream.calls
    assert pooled.path == stock.path
    assert pooled.body == stock.body
    for name in ("api-key", "x-pinecone-api-version", "user-agent", "content-type", "host"):
        assert pooled.headers.get(name) == stock.headers.get(name)


@pytest.mark.parametrize("status", NOT_RETRIED)
async def test_transport_raises_the_same_error_for_each_status(
    upstream: Upstream, status: int
) -> None:
    upstream.behave(Status(status, message="because"), "dense")
    stock, pooled = client_pair(upstream)
    expected = await outcome(search_records, stock)
    assert await outcome(search_records, pooled) == expected
    assert expected[1] == status
    assert len(upstream.calls) == 2
    await stock.close()
    await pooled.close()


@pytest.mark.parametrize(
    "behavior",
    [
        Garbage(),
        Garbage(b""),
        Garbage(b"\xff\xfe"),
        Wrong([]),
        Wrong({"result": {"hits": [{"_id": 7}]}}),
        Garbage(gzip.compress(orjson.dumps({"result": {"hits": []}, "usage": {"read_units": 1}})),
                {"content-encoding": "gzip"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("call", [search_records, search_documents])
async def test_transport_raises_the_same_error_for_an_unreadable_response(
    upstream: Upstream, behavior: Any, call: Any
) -> None:
    upstream.behave(behavior, "dense")
    stock, pooled = client_pair(upstream)
    assert await outcome(call, pooled) == await outcome(call, stock)
    await stock.close()
    await pooled.close()


@pytest.mark.parametrize(
    ("behavior", "expected"),
    [
        (Hang(), PineconeTimeoutError),
        (Reset(), PineconeConnectionError),
        (Truncate(), PineconeConnectionError),
    ],
)
async def test_transport_raises_the_clients_own_connection_errors(
    upstream: Upstream, behavior: Any, expected: type[PineconeError]
) -> None:
    """The stock client would retry for a while, so only ours is called."""
    _, pooled = client_pair(upstream)
    upstream.behave(behavior, "dense")
    with pytest.raises(expected):
        await search_records(pooled)
    await pooled.close()


async def test_transport_does_not_retry(upstream: Upstream) -> None:
    """`reads.py` retries, which knows the deadline and the lanes."""
    for behavior in (Status(503), Reset()):
        upstream.calls.clear()
        upstream.behave(behavior, "dense")
        _, pooled = client_pair(upstream)
        with pytest.raises(PineconeError):
            await search_records(pooled)
        assert len(upstream.calls) == 1
        await pooled.close()


async def test_transport_raises_a_connection_error_if_nothing_listens(unused_tcp_port: int) -> None:
    index = AsyncIndex(host=f"http://127.0.0.1:{unused_tcp_port}", api_key=API_KEY)
    index._http = pooled_http_client(index._http, 4)
    with pytest.raises(PineconeConnectionError):
        await index_stats(index)
    await index.close()


async def test_reranking_over_the_transport_equals_the_stock_client(upstream: Upstream) -> None:
    results = []
    for is_pooled in (False, True):
        async with AsyncPinecone(API_KEY, host=upstream.host("control")) as client:
            if is_pooled:
                client.inference._http = pooled_http_client(client.inference._http, 4)
            result = await client.inference.rerank(
                "bge-reranker-v2-m3", "cat", ["a dog", "a cat"], return_documents=False
            )
            results.append(result.to_dict())
    assert results[0] == results[1]
    assert results[1]["data"][0]["index"] == 1
