"""The client over aiohttp does, call by call, what the stock client does."""

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

NO_RETRIES = [400, 401, 402, 403, 404, 409, 412, 413, 418, 422, 501]


def pair(upstream: Upstream, index: str = "dense") -> list[AsyncIndex]:
    """The stock client, and the same one over aiohttp."""
    stock, ours = (AsyncIndex(host=upstream.host(index), api_key=API_KEY) for _ in range(2))
    ours._http = pooled_http_client(ours._http, 4)
    return [stock, ours]


async def records(index: AsyncIndex) -> Any:
    return await index.search(
        namespace="a b",
        top_k=3,
        inputs={"text": "the cat in winter"},
        filter={"kind": {"$in": ["c", "d"]}},
        fields=["chunk_text"],
        rerank={"model": "bge-reranker-v2-m3", "rank_fields": ["chunk_text"]},
        timeout=2.0,
    )


async def documents(index: AsyncIndex) -> Any:
    return await index.documents.search(
        namespace="..",
        score_by=[{"type": "embed", "field": "chunk_text", "query": "the cat"}],
        top_k=3,
        include_fields=["*"],
        timeout=2.0,
    )


async def stats(index: AsyncIndex) -> Any:
    return await index.describe_index_stats(timeout=2.0)


async def missing(index: AsyncIndex) -> Any:
    """A GET, which takes the client's own way through httpx."""
    return await index.describe_namespace(name="nowhere")


CALLS = [records, documents, stats, missing]


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
async def test_requests_and_answers_are_the_same(upstream: Upstream, call: Any) -> None:
    outcomes = []
    for index in pair(upstream):
        outcomes.append(await outcome(call, index))
        await index.close()
    assert outcomes[0] == outcomes[1]
    stock, ours = upstream.calls
    assert ours.path == stock.path
    assert ours.body == stock.body
    for name in ("api-key", "x-pinecone-api-version", "user-agent", "content-type", "host"):
        assert ours.headers.get(name) == stock.headers.get(name)


@pytest.mark.parametrize("status", NO_RETRIES)
async def test_every_status_raises_the_same(upstream: Upstream, status: int) -> None:
    upstream.behave(Status(status, message="because"), "dense")
    stock, ours = pair(upstream)
    expected = await outcome(records, stock)
    assert await outcome(records, ours) == expected
    assert expected[1] == status
    assert len(upstream.calls) == 2
    await stock.close()
    await ours.close()


@pytest.mark.parametrize(
    "behaviour",
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
@pytest.mark.parametrize("call", [records, documents])
async def test_unreadable_answers_end_the_same(
    upstream: Upstream, behaviour: Any, call: Any
) -> None:
    upstream.behave(behaviour, "dense")
    stock, ours = pair(upstream)
    assert await outcome(call, ours) == await outcome(call, stock)
    await stock.close()
    await ours.close()


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Hang(), PineconeTimeoutError),
        (Reset(), PineconeConnectionError),
        (Truncate(), PineconeConnectionError),
    ],
)
async def test_a_broken_wire_is_the_clients_own_exception(
    upstream: Upstream, behaviour: Any, expected: type[PineconeError]
) -> None:
    """The stock client would try again for a while, so only ours is waited for."""
    _, ours = pair(upstream)
    upstream.behave(behaviour, "dense")
    with pytest.raises(expected):
        await records(ours)
    await ours.close()


async def test_nothing_is_tried_again(upstream: Upstream) -> None:
    """That is decided where the deadline and the lanes are known."""
    for behaviour in (Status(503), Reset()):
        upstream.calls.clear()
        upstream.behave(behaviour, "dense")
        _, ours = pair(upstream)
        with pytest.raises(PineconeError):
            await records(ours)
        assert len(upstream.calls) == 1
        await ours.close()


async def test_nobody_listening_is_a_connection_error(unused_tcp_port: int) -> None:
    index = AsyncIndex(host=f"http://127.0.0.1:{unused_tcp_port}", api_key=API_KEY)
    index._http = pooled_http_client(index._http, 4)
    with pytest.raises(PineconeConnectionError):
        await stats(index)
    await index.close()


async def test_reranking_goes_the_same_way(upstream: Upstream) -> None:
    results = []
    for over_aiohttp in (False, True):
        async with AsyncPinecone(API_KEY, host=upstream.host("control")) as client:
            if over_aiohttp:
                client.inference._http = pooled_http_client(client.inference._http, 4)
            result = await client.inference.rerank(
                "bge-reranker-v2-m3", "cat", ["a dog", "a cat"], return_documents=False
            )
            results.append(result.to_dict())
    assert results[0] == results[1]
    assert results[1]["data"][0]["index"] == 1
