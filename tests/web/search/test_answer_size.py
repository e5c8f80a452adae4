"""Tests for the limit of an answer's bytes."""

from __future__ import annotations

from pathlib import Path

from service.app import create_app
from service.settings import load_settings
from tests.conftest import open_client


async def test_answer_over_the_limit_is_rejected(tmp_path: Path) -> None:
    """As JSON, and before the first event of a stream."""
    settings = load_settings(data_dir=str(tmp_path), load_samples=False, max_answer_bytes=65_536)
    async with open_client(create_app(settings)) as client:
        records = [{"_id": f"r{n}", "chunk_text": "bread " * 5_000} for n in range(3)]
        assert (await client.post("/api/records?wait=visible", json=records)).status_code == 200
        asked = {"text_query": "bread", "top_k": 3}
        for path in ("/api/lexical-search", "/api/cascading-retrieval/stream"):
            response = await client.post(path, json=asked)
            assert response.status_code == 413
            assert response.json()["code"] == "answer_too_large"
            assert "lower top_k" in response.json()["detail"]
        smaller = [{**asked, "top_k": 2}, {**asked, "fields": ["kind"]}]
        for each in smaller:
            assert (await client.post("/api/lexical-search", json=each)).status_code == 200
