"""Connections of a client: reuse, sharing between threads, cancellation and closing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.client import AsyncSearchClient, NotConnected, SearchClient
from tests.client.conftest import Make
from tests.client.fake_service import Reply, answer, scripted_server
from tests.conftest import MakeSettings

ALIVE = answer(200, {"status": "ok"})
ALONE = """
import sys
import service.client
print(sorted({"quart", "pinecone", "pydantic", "usearch"} & set(sys.modules)))
from service import create_app
print(create_app.__name__)
"""


def test_client_imports_without_service() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("[]\ncreate_app\n", "")


def test_connections_are_reused_and_closed(make: Make) -> None:
    with scripted_server(ALIVE, ALIVE, ALIVE) as server:
        client = make(server.url)
        for _ in range(3):
            client.healthz()
        assert server.connections == 1
        getattr(client, "aclose" if "Async" in repr(client) else "close")()
        with pytest.raises(NotConnected, match="This client is closed"):
            client.healthz()


def test_client_is_thread_safe(service: str) -> None:
    with SearchClient(service) as client, ThreadPoolExecutor(8) as threads:
        queries = ["butter", "bread", "tea", "oven"] * 6
        found = list(threads.map(lambda text: client.lexical(text, top_k=3).results, queries))
        assert found == [client.lexical(text, top_k=3).results for text in queries]


async def test_cancelled_calls_leak_no_connection() -> None:
    transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=2))
    with scripted_server(*[Reply(b"", "hold")] * 30) as server:
        async with AsyncSearchClient(server.url, transport=transport) as client:
            for number in range(30):
                call = asyncio.create_task(client.healthz())
                if number % 2:
                    await asyncio.to_thread(server.wait_for_requests, number // 2 + 1)
                call.cancel()
                await asyncio.wait([call])
                assert call.cancelled()
            server.replies[:] = [ALIVE] * 2
            await asyncio.gather(client.healthz(), client.healthz())


async def test_client_calls_app_in_process(make_settings: MakeSettings) -> None:
    app = create_app(make_settings())
    asgi: Any = app
    transport = httpx.ASGITransport(asgi, client=("127.0.0.1", 4711))
    async with app.test_app(), AsyncSearchClient("http://localhost", transport=transport) as client:
        assert (await client.ready()).ready
        assert (await client.cascading("anything")).results
