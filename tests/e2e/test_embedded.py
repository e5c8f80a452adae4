"""Tests for the service on the embedded engine, with the sample records."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.process import Process, serving_offline


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [result["_id"] for result in answer.json()["results"]]


def search(address: str, path: str, **parameters: Any) -> httpx.Response:
    return httpx.get(f"{address}/api/{path}", params=parameters)


def test_embedded_searches_over_samples(tmp_path: Path) -> None:
    """Each leg finds a record that the other one misses, and the cascade finds both."""
    with serving_offline(tmp_path) as (process, address):
        meant, code = "spicy mouth", "dishwasher E61"
        assert ids(search(address, "semantic-search", text_query=meant))[0] == "chilli-burn-milk"
        assert ids(search(address, "lexical-search", text_query=meant)) == []
        assert ids(search(address, "lexical-search", text_query=code))[0] == "quillmere-dw-e61"
        assert (
            ids(search(address, "semantic-search", text_query=code, top_k=3)).count(
                "quillmere-dw-e61"
            )
            == 0
        )
        assert ids(search(address, "cascading-retrieval", text_query=code))[0] == "quillmere-dw-e61"
        both = search(address, "cascading-retrieval", text_query="spicy mouth, oven F3E", top_k=3)
        assert {"chilli-burn-milk", "brindlow-oven-f3e"} <= set(ids(both))
        assert [stage["stage"] for stage in both.json()["receipt"]["stages"]][-1] == "fuse"
        assert httpx.get(f"{address}/readyz").json()["status"] == "ready"
        process.popen.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_embedded_filters_fields_and_errors(tmp_path: Path) -> None:
    with serving_offline(tmp_path) as (_, address):
        good = json.dumps({"rating": {"$gte": 4}, "category": {"$in": ["laundry", "cleaning"]}})
        answer = search(
            address, "semantic-search", text_query="stains", filter=good, fields="rating,category"
        )
        assert answer.json()["results"]
        for result in answer.json()["results"]:
            assert result.keys() == {"_id", "score", "rating", "category"}
            assert result["rating"] >= 4
        empty = search(address, "semantic-search", text_query=" ")
        assert (empty.status_code, empty.json()["code"]) == (422, "empty_query")
        compared = json.dumps({"chunk_text": "x"})
        rejected = search(address, "semantic-search", text_query="x", filter=compared)
        assert (rejected.status_code, rejected.json()["code"]) == (422, "upstream_refused")


def test_embedded_rerank_on_request(tmp_path: Path) -> None:
    with serving_offline(tmp_path) as (_, address):
        question = {"text_query": "how do I get red wine out of a carpet", "top_k": 3}
        for rerank in ("union", "per-leg"):
            answer = search(address, "cascading-retrieval", **question, rerank=rerank).json()
            assert not answer["degraded"]
            assert all(0 <= result["score"] <= 1 for result in answer["results"])
        plain = search(address, "cascading-retrieval", **question).json()
        assert "rerank" not in [stage["stage"] for stage in plain["receipt"]["stages"]]


def test_rerank_without_reranker_is_rejected(tmp_path: Path) -> None:
    with serving_offline(tmp_path, RERANKER="none") as (_, address):
        rejected = search(address, "cascading-retrieval", text_query="x", rerank="union")
        assert (rejected.status_code, rejected.json()["errors"][0]["loc"]) == (422, ["rerank"])


def test_deleted_views_are_rebuilt_before_readyz(tmp_path: Path) -> None:
    with serving_offline(tmp_path) as (first, _):
        first.popen.send_signal(signal.SIGTERM)
        assert first.wait() == 0
    for view in ("dense", "lexical", "corpus"):
        shutil.rmtree(next(tmp_path.rglob(view)))
    with serving_offline(tmp_path) as (_, address):  # waits for /readyz
        assert ids(search(address, "lexical-search", text_query="E81"))[0] == "quillmere-dw-e81"
        found = ids(search(address, "semantic-search", text_query="spicy mouth"))
        assert found[0] == "chilli-burn-milk"


def test_samples_are_loaded_only_into_empty_data_directory(
    tmp_path: Path,
) -> None:
    with serving_offline(tmp_path) as (first, _):
        assert "loaded 360 sample records" in first.log()
        first.popen.send_signal(signal.SIGTERM)
        assert first.wait() == 0
    with serving_offline(tmp_path) as (second, address):
        assert "sample records" not in second.log()
        assert ids(search(address, "lexical-search", text_query="E81"))[0] == "quillmere-dw-e81"


@pytest.mark.parametrize("workers", [1, 2])
def test_second_process_on_data_directory_fails_with_owner(tmp_path: Path, workers: int) -> None:
    with serving_offline(tmp_path, WEB_CONCURRENCY=workers) as (first, _):
        second = Process({"DATA_DIR": str(tmp_path), "PORT": "0"})
        try:
            assert second.wait() == 1
            (line,) = second.log().splitlines()
        finally:
            second.stop()
    assert f"belongs to process {first.pid}" in line


def test_files_of_service_are_private(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving_offline(data) as (process, address):
        body = b'{"_id": "a", "chunk_text": "cat"}'
        ndjson = {"Content-Type": "application/x-ndjson"}
        assert httpx.post(f"{address}/api/imports", content=body, headers=ndjson).status_code == 202
        process.popen.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        assert "chmod" not in process.log()
    paths = [data, *data.rglob("*")]
    assert {each.name for each in paths} >= {"records.db", "jobs.db", "node", "owner", "lexical"}
    assert [each for each in paths if each.stat().st_mode & 0o077] == []
