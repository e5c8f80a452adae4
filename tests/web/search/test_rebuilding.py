"""Tests for readiness and searches during the rebuild of an index."""

from __future__ import annotations

from pathlib import Path

import httpx

from service.app import create_app
from service.embedded.views.follower import Follower
from service.settings import load_settings
from tests.conftest import open_client


async def test_rebuild_progress_is_in_readyz_and_other_leg_answers(tmp_path: Path) -> None:
    app = create_app(load_settings(data_dir=str(tmp_path), load_samples=True))
    async with open_client(app) as client:
        index = app.extensions["cascade"]._open.dense._index
        follower: Follower = index.views.followed[index.views.dense["chunk_text"]]
        follower.rebuilt_fraction = 0.45
        try:
            ready = await client.get("/readyz")
            assert ready.status_code == 503
            assert ready.json()["indexes"] == {"dense": "rebuilding, 45% done", "sparse": "ok"}
            await _other_leg_answers(client)
        finally:
            follower.rebuilt_fraction = None
        found = await client.get("/api/semantic-search", params={"text_query": "spicy mouth"})
        assert found.status_code == 200


async def _other_leg_answers(client: httpx.AsyncClient) -> None:
    question = {"text_query": "dishwasher E61"}
    alone = await client.get("/api/semantic-search", params=question)
    assert alone.status_code == 503
    assert "45% done" in alone.json()["detail"]
    both = (await client.get("/api/cascading-retrieval", params=question)).json()
    assert both["receipt"]["missing"] == ["semantic"]
    assert both["results"][0]["_id"] == "quillmere-dw-e61"
