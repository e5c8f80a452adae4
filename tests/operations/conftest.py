"""The metrics of running services: all that there are, with both backends and several workers."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.settings import load_settings
from service.web.metrics.workers import WorkerGroup
from tests.conftest import MakeSettings, open_client
from tests.upstream import Status, Upstream
from tests.web.metrics.samples import Samples

SEARCHES = (
    "semantic-search",
    "lexical-search",
    "cascading-retrieval",
    "cascading-retrieval/stream",
)


async def scrape_after_requests(client: httpx.AsyncClient) -> str:
    for path in SEARCHES:
        await client.get(f"/api/{path}?text_query=cat")
    await client.get("/api/export")
    await client.get("/nowhere")
    return (await client.get("/metrics")).text


@pytest.fixture
async def metrics(tmp_path: Path, make_settings: MakeSettings, upstream: Upstream) -> Samples:
    """The metrics of the embedded engine, and of Pinecone with two workers and Redis."""
    offline = create_app(load_settings(data_dir=str(tmp_path), load_samples=True))
    async with open_client(offline) as client:
        embedded = await scrape_after_requests(client)
    no_redis = "redis://127.0.0.1:1/0"
    (tmp_path / "workers").mkdir()
    workers = WorkerGroup(tmp_path / "workers", 1, 2)
    app = create_app(make_settings(redis_url=no_redis, cache_ttl=5), workers=workers)
    async with open_client(app) as client:
        await scrape_after_requests(client)
        upstream.behave(Status(400), "sparse")
        pinecone = await scrape_after_requests(client)
    return Samples(embedded) + Samples(pinecone)
