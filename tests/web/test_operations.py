"""Tests for probes, response headers, the access log and the API documentation."""

from __future__ import annotations

import logging

import pytest

from service.app import create_app
from service.lifecycle import Lifecycle
from tests.conftest import Client, MakeSettings
from tests.upstream import API_KEY, Status, Upstream


async def test_healthz_makes_no_upstream_call(client: Client, upstream: Upstream) -> None:
    before = len(upstream.calls)
    response = await client.get("/healthz")
    assert (response.status_code, await response.get_json()) == (200, {"status": "ok"})
    assert len(upstream.calls) == before


async def test_readyz_names_failing_index(client: Client, upstream: Upstream) -> None:
    upstream.behave(Status(403), "sparse")
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert await response.get_json() == {
        "status": "not ready",
        "indexes": {"dense": "ok", "sparse": "upstream_forbidden"},
    }


async def test_readyz_caches_its_result(client: Client, upstream: Upstream) -> None:
    before = len(upstream.calls)
    for _ in range(20):
        assert (await client.get("/readyz")).status_code == 200
    assert len(upstream.calls) - before == 2


async def test_draining_fails_readyz_and_closes_connections(
    make_settings: MakeSettings,
) -> None:
    lifecycle = Lifecycle()
    async with create_app(make_settings(), lifecycle).test_app() as app:
        client = app.test_client()
        assert "Connection" not in (await client.get("/healthz")).headers
        lifecycle.drain()
        ready = await client.get("/readyz")
        assert (ready.status_code, (await ready.get_json())["status"]) == (503, "draining")
        answered = await client.get("/api/semantic-search?text_query=cat")
        assert answered.status_code == 200
        assert answered.headers["Connection"] == "close"


async def test_response_has_process_time_and_server_timing(client: Client) -> None:
    response = await client.get("/api/cascading-retrieval?text_query=cat")
    assert float(response.headers["X-Process-Time"]) > 0
    stages = [part.split(";dur=")[0] for part in response.headers["Server-Timing"].split(", ")]
    assert set(stages) == {"semantic", "lexical", "fuse", "rerank", "total"}
    missing = await client.get("/nowhere")
    assert missing.headers["Server-Timing"].startswith("total;dur=")


@pytest.mark.parametrize("given", ["abc-123", "0af7651916cd43dd8448eb211c80319c"])
async def test_valid_request_id_is_echoed(client: Client, given: str) -> None:
    response = await client.get("/nowhere", headers={"X-Request-Id": given})
    assert response.headers["X-Request-Id"] == given
    assert (await response.get_json())["request_id"] == given


@pytest.mark.parametrize("given", ["", "a b", "<script>", "x" * 129, "é"])
async def test_unsafe_request_id_is_replaced(client: Client, given: str) -> None:
    response = await client.get("/nowhere", headers={"X-Request-Id": given})
    assert len(response.headers["X-Request-Id"]) == 32


async def test_access_log_has_one_line_per_request_without_query(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "service.access"):
        await client.get("/api/semantic-search?text_query=my+secret+wish")
        await client.get("/healthz")
    (line,) = [record for record in caplog.records if record.name == "service.access"]
    assert line.getMessage() == "GET /api/semantic-search 200"
    assert "wish" not in str(vars(line))


@pytest.mark.parametrize(
    ("method", "path", "logged"),
    [
        ("GET", "/nowhere", "GET /nowhere 404 not_found"),
        ("PUT", "/api/records", "PUT /api/records 405 method_not_allowed"),
        ("GET", "/api/semantic-search?text_query=", "GET /api/semantic-search 422 empty_query"),
        (
            "GET",
            "/api/semantic-search?text_query=wish&top_k=0",
            "GET /api/semantic-search 422 invalid_request",
        ),
        ("POST", "/api/semantic-search", "POST /api/semantic-search 415 unsupported_media_type"),
        ("GET", "/a%0A12:00:00%20GET%1B[31m", "GET /a\\n12:00:00%20GET\\x1b[31m 404 not_found"),
        ("GET", "/" + "x" * 9_000, "GET /" + "x" * 199 + "… 404 not_found"),
    ],
)
async def test_access_log_of_client_error_has_its_code(
    client: Client, caplog: pytest.LogCaptureFixture, method: str, path: str, logged: str
) -> None:
    with caplog.at_level(logging.INFO, "service.access"):
        response = await getattr(client, method.lower())(path)
    (line,) = [record for record in caplog.records if record.name == "service.access"]
    assert line.getMessage() == logged
    assert vars(line)["code"] == (await response.get_json())["code"]
    assert "wish" not in str(vars(line))


async def test_rejected_upstream_key_is_not_logged(
    client: Client, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.behave(Status(401), "dense")
    with caplog.at_level(logging.DEBUG):
        await client.get("/api/semantic-search?text_query=cat")
    assert "UnauthorizedError" in caplog.text
    assert API_KEY not in caplog.text


async def test_root_redirects_to_documentation_page(client: Client) -> None:
    response = await client.get("/")
    assert response.status_code == 302
    assert response.headers["Location"] == "/api/docs"
    page = await client.get("/api/docs")
    assert page.content_type == "text/html; charset=utf-8"
    text = await page.get_data(as_text=True)
    assert isinstance(text, str)
    assert "openapi.json" in text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for elsewhere in ("https://", "http://", "//cdn"):
        assert f'src="{elsewhere}' not in text
        assert f'href="{elsewhere}' not in text


async def test_openapi_documents_routes_and_parameters(client: Client) -> None:
    document = await (await client.get("/api/openapi.json")).get_json()
    assert set(document["paths"]) >= {
        "/api/semantic-search",
        "/api/lexical-search",
        "/api/cascading-retrieval",
        "/healthz",
        "/readyz",
    }
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    get = document["paths"]["/api/cascading-retrieval"]["get"]
    assert {parameter["name"] for parameter in get["parameters"]} == {
        "text_query", "top_k", "namespace", "filter", "fields", "rerank", "timeout_ms",
        "match_terms", "typos", "highlight", "offsets", "fusion", "lexical_weight", "explain",
        "depth", "cursor",
    }  # fmt: skip
    post = document["paths"]["/api/cascading-retrieval"]["post"]
    assert "requestBody" in post
    assert "parameters" not in post or post["parameters"] == []
    assert set(get["responses"]) >= {"200", "304", "410", "422", "503", "504"}
    assert "content" not in get["responses"]["304"]
    assert set(get["responses"]["200"]["headers"]) == {"ETag", "Cache-Control", "X-Cache", "Age"}
    assert set(post["responses"]) - set(get["responses"]) == {"408", "415"}
    assert "413" in get["responses"]  # an answer may be too large, too
    assert set(get["responses"]) - set(post["responses"]) == {"304"}
    assert get["responses"]["422"] == {"$ref": "#/components/responses/UnprocessableEntity"}
