"""`/metrics` of an app: who may read it, and what it reports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import load_settings
from service.version import VERSION
from tests.conftest import MakeSettings, open_client
from tests.upstream import Status, Upstream
from tests.web.metrics.samples import Samples

KEY = "a-key-of-prometheus"
SEARCH = "/api/cascading-retrieval?text_query=cat"
REQUESTS = "cascade_http_request_duration_seconds_count"
STAGES = "cascade_search_stage_duration_seconds_count"


async def scrape(client: httpx.AsyncClient, **options: Any) -> Samples:
    response = await client.get("/metrics", **options)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Samples(response.text)


@pytest.fixture
async def offline(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings(data_dir=str(tmp_path), load_samples=True, cache_ttl=60)
    async with open_client(create_app(settings)) as client:
        yield client


async def test_metrics_are_open_to_the_same_machine_only(local: httpx.AsyncClient) -> None:
    assert (await scrape(local)).sum("cascade_build_info", version=VERSION, backend="pinecone") == 1
    for headers in ({"X-Forwarded-For": "127.0.0.1"}, {"Host": "attacker.example"}):
        refused = await local.get("/metrics", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "metrics_closed")


async def test_metrics_key_is_required_and_is_not_a_key_of_the_api(
    make_settings: MakeSettings,
) -> None:
    service_key = "a-key-of-the-service"
    settings = make_settings(metrics_key=KEY, service_api_keys=service_key)
    async with open_client(create_app(settings)) as client:
        missing = await client.get("/metrics")
        assert (missing.status_code, missing.json()["code"]) == (401, "key_missing")
        assert "Bearer" in missing.headers["WWW-Authenticate"]
        rejected = await client.get("/metrics", headers={"Authorization": f"Bearer {service_key}"})
        assert (rejected.status_code, rejected.json()["code"]) == (401, "key_rejected")
        bearer = {"Authorization": f"Bearer {KEY}"}
        assert (await scrape(client, headers=bearer)).names
        assert (await client.get(SEARCH, headers=bearer)).status_code == 401


async def test_metrics_allowed_ips_open_them_to_a_network(make_settings: MakeSettings) -> None:
    settings = make_settings(metrics_allowed_ips="10.0.0.0/8", trusted_proxy_hops=1)
    async with open_client(create_app(settings)) as client:
        assert (await scrape(client, headers={"X-Forwarded-For": "10.1.2.3"})).names
        refused = await client.get("/metrics", headers={"X-Forwarded-For": "10.1.2.3, 192.0.2.1"})
        assert refused.status_code == 403


async def test_metrics_count_requests_by_route_template(local: httpx.AsyncClient) -> None:
    for path in ("/api/records/a", "/api/records/b", "/x/1", "/x/2", "//api/stats"):
        await local.get(path)
    await local.request("BREW", "/api/records")
    samples = await scrape(local)
    assert samples.sum(REQUESTS, route="/api/records/{record_id}", method="GET") == 2
    assert samples.sum(REQUESTS, route="unmatched", status="404") == 3
    assert samples.sum(REQUESTS, route="/api/records", method="other", status="405") == 1
    assert samples.sum(REQUESTS) == 6
    assert samples.sum("cascade_http_requests_in_progress") == 1  # the scrape


async def test_metrics_count_stages_and_units_of_searches(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    for _ in range(3):
        assert (await local.get(SEARCH)).status_code == 200
    upstream.behave(Status(400), "sparse")
    assert (await local.get(SEARCH)).json()["degraded"]
    assert (await local.get("/api/lexical-search?text_query=cat")).status_code == 422
    samples = await scrape(local)
    assert samples.sum(STAGES, mode="cascading", stage="semantic", status="ok") == 4
    assert samples.sum(STAGES, mode="cascading", stage="lexical", status="ok") == 3
    assert samples.sum(STAGES, mode="cascading", stage="lexical", status="failed") == 1
    assert samples.sum(STAGES, mode="lexical", stage="lexical", status="failed") == 1
    assert samples.sum(STAGES, stage="rerank", status="ok") == 4
    assert samples.sum("cascade_search_degraded_total", missing="lexical") == 1
    assert samples.sum("cascade_search_degraded_total") == 1
    assert samples.sum("cascade_search_read_units_total", mode="cascading") == 7
    assert samples.sum("cascade_search_rerank_units_total", mode="cascading") == 4


async def test_metrics_report_retries_and_open_circuit(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.behave(Status(503), "sparse")
    for number in range(8):
        await local.get(f"/api/lexical-search?text_query=cat+{number}")
    samples = await scrape(local)
    assert samples.sum("cascade_upstream_circuit_open", upstream="sparse") == 1
    assert samples.sum("cascade_upstream_circuit_open") == 1
    assert samples.sum("cascade_upstream_reads_total", upstream="sparse") == 8
    assert samples.sum("cascade_upstream_reads_rejected_total", upstream="sparse") >= 2
    attempts = len(upstream.searches("sparse"))
    reads = 8 - samples.sum("cascade_upstream_reads_rejected_total")
    assert samples.sum("cascade_upstream_retries_total") == attempts - reads > 0


async def test_metrics_count_cache_answers_by_source(offline: httpx.AsyncClient) -> None:
    for control in ("", "", "", "no-cache"):
        await offline.get(SEARCH, headers={"Cache-Control": control})
    samples = await scrape(offline)
    assert samples.sum("cascade_cache_answers_total", source="miss") == 1
    assert samples.sum("cascade_cache_answers_total", source="hit") == 2
    assert samples.sum("cascade_cache_answers_total", source="bypass") == 1
    assert samples.sum("cascade_cache_answers_total") == 4
    assert samples.sum("cascade_cache_size_bytes") > 0


async def test_metrics_report_records_and_views_of_the_engine(offline: httpx.AsyncClient) -> None:
    records = [record("a"), record("b")]
    written = await offline.post("/api/records?wait=visible", json=records)
    assert written.json()["written"] == 2
    samples = await scrape(offline)
    assert samples.sum("cascade_engine_records") == 362
    assert samples.sum("cascade_engine_size_bytes", part="records") > 100_000
    assert samples.sum("cascade_engine_size_bytes", part="lexical") > 0
    free = samples.sum("cascade_engine_disk_free_bytes")
    assert free > samples.sum("cascade_engine_disk_reserve_bytes") > 0
    assert samples.sum("cascade_engine_view_pending_changes") == 0
    assert samples.sum("cascade_engine_view_complete") == 4
    assert samples.sum("cascade_engine_view_failing") == 0
    assert not any(name.startswith("cascade_upstream") for name in samples.names)


async def test_metrics_count_records_and_jobs_of_imports(offline: httpx.AsyncClient) -> None:
    lines = '{"_id": "a", "chunk_text": "tea"}\n{"chunk_text": 7}\n{"_id": "b", "chunk_text": "x"}'
    started = await offline.post(
        "/api/imports", content=lines, headers={"Content-Type": "application/x-ndjson"}
    )
    async with offline.stream("GET", f"/api/imports/{started.json()['id']}/events") as events:
        async for _ in events.aiter_lines():
            pass
    samples = await scrape(offline)
    assert samples.sum("cascade_import_records_total", outcome="written") == 2
    assert samples.sum("cascade_import_records_total", outcome="failed") == 1
    assert samples.sum("cascade_imports", status="succeeded") == 1
    assert samples.sum("cascade_imports") == 1
    assert samples.sum("cascade_imports_up") == 1


async def test_metrics_of_closed_app_do_not_fail(tmp_path: Path) -> None:
    """A host application that has not opened Cascade yet may be scraped."""
    app: Any = create_app(load_settings(data_dir=str(tmp_path)))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        samples = await scrape(client)
    assert samples.sum("cascade_imports_up") == 0
    assert "cascade_engine_records" not in samples.names


def record(id: str) -> dict[str, str]:
    return {"_id": id, "chunk_text": f"tea number {id}"}
