"""The fake upstream of the benchmarks with the real client, and the load generator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
from pinecone import AsyncIndex

from bench.load import load
from bench.upstream import RESTART, Searches, Upstream

RERANK = {"model": "cohere-rerank-3.5", "rank_fields": ["chunk_text"]}


@contextlib.asynccontextmanager
async def serving(searches: Searches) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(loop, searches), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_search_with_and_without_rerank_is_equal() -> None:
    async with serving(Searches(0)) as url, AsyncIndex(host=url, api_key="bench") as index:
        plain = await index.search(namespace="n", top_k=10, inputs={"text": "a"})
        reranked = await index.search(namespace="n", top_k=10, inputs={"text": "a"}, rerank=RERANK)
    assert len(plain.result.hits) == 10
    assert plain == reranked


async def test_only_searches_are_counted_until_restart() -> None:
    async with (
        serving(Searches(0)) as url,
        AsyncIndex(host=url, api_key="bench") as index,
        httpx.AsyncClient() as client,
    ):
        await index.describe_index_stats()
        for _ in range(2):
            await index.search(namespace="n", top_k=10, inputs={"text": "a"})
        assert (await client.get(url + RESTART)).json() == {"searches": 2, "abandoned": 0}
        assert (await client.get(url + RESTART)).json() == {"searches": 0, "abandoned": 0}


def test_share_of_searches_is_slow() -> None:
    searches = Searches(0.02, slow_share=0.05, slow_times=20)
    delays = [searches.next_delay_s() for _ in range(10_000)]
    assert set(delays) == {0.02, 0.4}
    assert 450 < delays.count(0.4) < 550


def test_restart_repeats_slow_searches() -> None:
    searches = Searches(0.02, slow_share=0.05, slow_times=20)
    first = [searches.next_delay_s() for _ in range(1_000)]
    searches.restart()
    assert [searches.next_delay_s() for _ in range(1_000)] == first


def test_without_share_no_search_is_slow() -> None:
    searches = Searches(0.02)
    assert {searches.next_delay_s() for _ in range(1_000)} == {0.02}


async def test_load_numbers_requests() -> None:
    targets: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                targets.append(request.split()[1].decode())
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await load(f"http://127.0.0.1:{port}/search?q=bread+{{n}}", 2, 0.1)
    assert not outcome.errors
    assert len(targets) > 2
    assert sorted(targets) == sorted({f"/search?q=bread+{n}" for n in range(len(targets))})


async def test_cancelled_search_is_abandoned() -> None:
    searches = Searches(3600)
    async with serving(searches) as url, AsyncIndex(host=url, api_key="bench") as index:
        search = asyncio.create_task(index.search(namespace="n", top_k=10, inputs={"text": "a"}))
        while not searches.count:
            await asyncio.sleep(0.001)
        search.cancel()
        await asyncio.wait([search])
        while not searches.abandoned:
            await asyncio.sleep(0.001)
    assert (searches.count, searches.abandoned) == (1, 1)
