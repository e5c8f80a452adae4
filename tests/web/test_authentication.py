"""Tests for authentication and write access over HTTP."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
from quart import Quart

from service.app import create_app
from service.web.authentication import PUBLIC_ENDPOINTS
from tests.conftest import MakeSettings, open_client
from tests.upstream import Upstream
from tests.web.websocket_client import WebsocketDisconnectError

KEY, OTHER = "a-key-of-24-characters-1", "a-key-of-24-characters-2"
RECORD = {"_id": "a", "chunk_text": "x"}
SEARCH = "/api/semantic-search?text_query=cat"


def assert_error(response: httpx.Response, status: int, code: str) -> None:
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert ("WWW-Authenticate" in response.headers) == (status == 401)
    assert KEY not in response.text
    assert OTHER not in response.text


async def receive_close_code(app: Quart, path: str, first: Any, **headers: str) -> int:
    """Send `first`, if given, and return the code of the close frame."""
    async with app.test_client().websocket(path, headers=headers) as websocket:
        if first is not None:
            await websocket.send(first)
        with pytest.raises(WebsocketDisconnectError) as raised:
            await websocket.receive()
    code: int = raised.value.args[0]
    return code


async def test_route_is_public_or_requires_key(make_settings: MakeSettings) -> None:
    app = create_app(make_settings(service_api_keys=KEY))
    async with open_client(app) as client:
        checked = 0
        for rule in app.url_map.iter_rules():
            values = dict.fromkeys(rule.arguments, "x")
            _, path = rule.build(values) or ("", "")
            if rule.websocket:
                assert rule.endpoint not in PUBLIC_ENDPOINTS
                assert await receive_close_code(app, path, b"{}") == 1008, rule
                checked += 1
                continue
            assert rule.methods
            for method in rule.methods - {"OPTIONS"}:
                response = await client.request(method, path)
                if rule.endpoint in PUBLIC_ENDPOINTS:
                    assert response.status_code in {200, 302}, rule
                else:
                    assert response.status_code == 401, rule
                    checked += 1
        assert checked > 10


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {OTHER} "},
        {"Api-Key": KEY},
        {"Api-Key": OTHER, "Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
async def test_valid_key_in_header_is_accepted(
    make_settings: MakeSettings, upstream: Upstream, headers: dict[str, str]
) -> None:
    app = create_app(make_settings(service_api_keys=f"{KEY}, {OTHER}", host="0.0.0.0"))
    async with open_client(app, headers=headers, base_url="http://search.example.org") as client:
        assert (await client.get(SEARCH)).status_code == 200
        assert (await client.post("/api/records", json=RECORD)).status_code == 200
        page = {"Origin": "http://app.example.org"}
        assert (await client.delete("/api/records/a", headers=page)).status_code == 200


async def test_missing_or_wrong_key_is_rejected_without_upstream_call(
    make_settings: MakeSettings, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with open_client(create_app(make_settings(service_api_keys=KEY))) as client:
            before = len(upstream.calls)
            assert_error(await client.get(SEARCH), 401, "key_missing")
            assert_error(await client.post("/api/records", json=RECORD), 401, "key_missing")
            assert_error(await client.get(f"{SEARCH}&api_key={KEY}"), 401, "key_missing")
            basic = {"Authorization": f"Basic {KEY}"}
            assert_error(await client.get(SEARCH, headers=basic), 401, "key_missing")
            for wrong in ("wrong", KEY + "x", "ü", OTHER):
                response = await client.get(SEARCH, headers={b"Api-Key": wrong.encode()})
                assert_error(response, 401, "key_rejected")
            assert len(upstream.calls) == before
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/api/openapi.json")).status_code == 200
            assert (await client.get("/nowhere")).status_code == 404
    assert OTHER not in caplog.text


@pytest.mark.parametrize(
    ("settings", "client_options", "headers", "error"),
    [
        ({}, {}, {}, None),
        ({}, {"base_url": "http://localhost:8000"}, {"Origin": "http://localhost:8000"}, None),
        ({"host": "0.0.0.0"}, {}, {}, "writes_closed"),
        ({"trusted_proxy_hops": 1}, {}, {"X-Forwarded-For": "127.0.0.1"}, "writes_closed"),
        ({}, {}, {"X-Forwarded-For": "127.0.0.1"}, "writes_closed"),
        ({}, {}, {"Forwarded": "for=127.0.0.1"}, "writes_closed"),
        ({}, {"base_url": "http://rebound.example.org"}, {}, "origin_refused"),
        ({}, {}, {"Origin": "https://example.org"}, "origin_refused"),
        ({}, {}, {"Origin": "null"}, "origin_refused"),
    ],
)
async def test_write_without_keys_requires_loopback_and_same_origin(
    make_settings: MakeSettings,
    upstream: Upstream,
    settings: dict[str, Any],
    client_options: dict[str, Any],
    headers: dict[str, str],
    error: str | None,
) -> None:
    app = create_app(make_settings(**settings))
    async with open_client(app, headers=headers, **client_options) as client:
        writes = [
            await client.post("/api/records", json=RECORD),
            await client.delete("/api/records/a"),
            await client.request("DELETE", "/api/records", json={"all": True}),
        ]
        for response in writes:
            if error is None:
                assert response.status_code == 200
            else:
                assert_error(response, 403, error)
        assert (upstream.upserts() == []) == (error is not None)
        for path in ("/api/records", "/api/stats", SEARCH):
            response = await client.get(path)
            if error == "origin_refused":
                assert_error(response, 403, error)
            else:
                assert response.status_code == 200


@pytest.mark.parametrize(
    ("settings", "host", "origin", "refused"),
    [
        ({}, "rebound.example.org", None, True),
        ({}, "rebound.example.org", "http://rebound.example.org", True),
        ({}, "127.0.0.1:8000", "https://example.org", True),
        ({}, "127.0.0.1:8000", "null", True),
        ({}, "localhost:8000", "http://localhost:8000", False),
        ({"allowed_origins": "https://example.org"}, "localhost", "https://example.org", False),
        ({"allowed_hosts": "a.example, B.example"}, "b.EXAMPLE:80", "http://b.EXAMPLE:80", False),
        ({"allowed_hosts": "a.example"}, "b.example", None, True),
        ({"allowed_hosts": "a.example"}, "127.0.0.1", None, False),
        ({"host": "0.0.0.0"}, "search.example", "https://example.org", False),
        ({"host": "0.0.0.0", "allowed_hosts": "a.example"}, "search.example", None, True),
        ({"trusted_proxy_hops": 1}, "search.example", None, False),
        ({"service_api_keys": KEY}, "search.example", "https://example.org", False),
        ({"service_api_keys": KEY, "allowed_hosts": "a.example"}, "search.example", None, True),
    ],
)
async def test_read_by_rebound_host_or_foreign_origin_is_refused(
    make_settings: MakeSettings,
    upstream: Upstream,
    settings: dict[str, Any],
    host: str,
    origin: str | None,
    refused: bool,
) -> None:
    """Every route but the public ones: a page on this machine must not read the records."""
    headers = {"Host": host, "Api-Key": KEY} | ({"Origin": origin} if origin else {})
    app = create_app(make_settings(**settings))
    async with open_client(app, headers=headers) as client:
        for rule in app.url_map.iter_rules():
            _, path = rule.build(dict.fromkeys(rule.arguments, "x")) or ("", "")
            if "GET" not in (rule.methods or ()) or rule.websocket:
                continue
            if rule.endpoint == "metrics.metrics":
                continue  # it has rules of its own: see tests/access/test_metrics_policy.py
            if rule.endpoint in PUBLIC_ENDPOINTS:
                assert (await client.get(path)).status_code in {200, 302}
            elif refused:
                assert_error(await client.get(path), 403, "origin_refused")
        response = await client.post("/api/semantic-search", json={"text_query": "cat"})
        assert response.status_code == (403 if refused else 200)


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_cross_site_form_post_and_preflight_are_rejected(
    local: httpx.AsyncClient, upstream: Upstream, media_type: str
) -> None:
    """A cross-site form needs no CORS preflight, JSON does, and no preflight is allowed."""
    response = await local.post(
        "/api/records",
        content=b'{"_id": "a", "chunk_text": "x"}',
        headers={"Content-Type": media_type},
    )
    assert_error(response, 415, "unsupported_media_type")
    preflight_headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    preflight = await local.options("/api/records", headers=preflight_headers)
    assert not [name for name in preflight.headers if name.startswith("access-control")]
    assert upstream.upserts() == []
