"""The note of a search in a namespace that has no records."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.settings import load_settings
from service.web.search.stream import PATH as STREAM
from tests.conftest import open_client
from tests.server_events import parse_events
from tests.upstream import Upstream

NOTE = "namespace notes has no records; /api/namespaces lists those that have some"
QUERY = {"text_query": "tea", "namespace": "notes"}
NO_RECORD = '{"kind": "none"}'
PATHS = ["/api/semantic-search", "/api/lexical-search", "/api/cascading-retrieval"]


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings(data_dir=str(tmp_path), load_samples=False)
    async with open_client(create_app(settings)) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
async def test_search_in_empty_namespace_says_so(embedded: httpx.AsyncClient, path: str) -> None:
    answer = (await embedded.get(path, params=QUERY)).json()
    assert (answer["results"], answer["degraded"]) == ([], False)
    assert answer["receipt"]["note"] == NOTE
    record = {"_id": "tea", "chunk_text": "green tea"}
    await embedded.post("/api/records?namespace=notes&wait=visible", json=record)
    answer = (await embedded.get(path, params=QUERY)).json()
    assert answer["results"]
    assert "note" not in answer["receipt"]
    nothing = QUERY | {"filter": NO_RECORD}
    answer = (await embedded.get(path, params=nothing)).json()
    assert answer["results"] == []
    assert "note" not in answer["receipt"]
    await embedded.delete("/api/records/tea?namespace=notes&wait=visible")
    assert (await embedded.get(path, params=QUERY)).json()["receipt"]["note"] == NOTE


async def test_note_is_in_every_answer_and_in_the_stream(embedded: httpx.AsyncClient) -> None:
    """It is not lost to the cache."""
    for _ in range(2):
        answer = (await embedded.get(PATHS[0], params=QUERY)).json()
        assert answer["receipt"]["note"] == NOTE
    events = parse_events((await embedded.get(STREAM, params=QUERY)).text)
    assert events[-1].data["receipt"]["note"] == NOTE


async def test_note_costs_no_call_to_pinecone(local: httpx.AsyncClient, upstream: Upstream) -> None:
    before = len(upstream.calls)
    nothing = QUERY | {"text_query": "xylophone"}
    answer = (await local.get("/api/lexical-search", params=nothing)).json()
    assert answer["results"] == []
    assert "note" not in answer["receipt"]
    assert len(upstream.calls) == before + 1
