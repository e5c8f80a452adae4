"""Tests for CORS: preflights, and the headers of every response to a page of another origin."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from service.web.browsers.cors import ALLOWED_METHODS, EXPOSED_HEADERS
from tests.conftest import MakeSettings, open_client
from tests.upstream import Gate, Status, Upstream

KEY = "a-key-of-24-characters-1"
SHOP, EVIL = "https://shop.example", "https://evil.example"
PATH = "/api/semantic-search"
SEARCH = f"{PATH}?text_query=cat"
STREAM = "/api/cascading-retrieval/stream?text_query=cat"
NOT_CANONICAL = "http://127.0.0.1:8000//api/stats"
IMPORT = "/api/imports?format=ndjson"
RECORD = b'{"_id": "a", "chunk_text": "x"}'
# A browser shows these to every page, or keeps them for itself.
NOT_EXPOSED = {
    "access-control-allow-origin", "access-control-expose-headers", "cache-control", "connection",
    "content-length", "content-security-policy", "content-type", "cross-origin-opener-policy",
    "cross-origin-resource-policy", "permissions-policy", "referrer-policy", "transfer-encoding",
    "vary", "x-accel-buffering", "x-content-type-options", "x-frame-options",
}  # fmt: skip


def preflight_headers(origin: str, method: str = "POST") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }


def cors_headers(response: httpx.Response) -> dict[str, str]:
    return {
        name: value for name, value in response.headers.items() if name.startswith("access-control")
    }


def vary(response: httpx.Response) -> set[str]:
    return {name.strip().lower() for name in response.headers.get("Vary", "").split(",")}


@pytest.fixture
def settings(make_settings: MakeSettings, tmp_path: Path) -> Settings:
    return make_settings(
        service_api_keys=KEY,
        allowed_origins=f"{SHOP}, http://localhost:5173",
        data_dir=str(tmp_path),
        max_in_flight=1,
        max_waiting=0,
        cache_ttl=60,
    )


async def test_preflight_is_answered_without_key(settings: Settings, upstream: Upstream) -> None:
    async with open_client(create_app(settings)) as client:
        before = len(upstream.calls)
        for path in (PATH, "/api/records/a", "/api/export", "/nowhere"):
            response = await client.options(path, headers=preflight_headers(SHOP))
            assert (response.status_code, response.content) == (204, b"")
            assert response.headers["Access-Control-Allow-Origin"] == SHOP
            assert "POST" in response.headers["Access-Control-Allow-Methods"].split(", ")
            allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
            assert {"authorization", "api-key", "content-type", "last-event-id"} <= set(allowed)
            assert int(response.headers["Access-Control-Max-Age"]) > 600
            assert "Access-Control-Allow-Credentials" not in response.headers
            assert vary(response) == {
                "origin",
                "access-control-request-method",
                "access-control-request-headers",
            }
            assert response.headers["X-Request-Id"]
        assert len(upstream.calls) == before


@pytest.mark.parametrize("origin", [EVIL, "null", f"{SHOP}:8443", "http://shop.example", "HTTPS"])
async def test_foreign_origin_gets_no_cors_headers(
    settings: Settings, upstream: Upstream, origin: str
) -> None:
    key = {"Api-Key": KEY, "Origin": origin}
    paths = (SEARCH, STREAM, "/api/stats", "/api/export", "/nowhere", NOT_CANONICAL, "/healthz")
    async with open_client(create_app(settings)) as client:
        refused = await client.options(PATH, headers=preflight_headers(origin))
        assert (refused.status_code, refused.json()["code"]) == (403, "origin_refused")
        assert "ALLOWED_ORIGINS" in refused.json()["detail"]
        answers = [refused] + [await client.get(path, headers=key) for path in paths]
        answers.append(await client.get(SEARCH, headers={"Origin": origin}))
        for response in answers:
            assert cors_headers(response) == {}
            assert "origin" in vary(response)


async def test_every_kind_of_response_has_cors_headers(
    settings: Settings, upstream: Upstream
) -> None:
    """Answers, errors, 304s, streams and files, and what the middleware refuses."""
    app = create_app(settings)
    sent: set[str] = set()

    def check(response: httpx.Response, status: int) -> httpx.Response:
        assert response.status_code == status, response.text
        found = cors_headers(response)
        assert found.pop("access-control-expose-headers") == ", ".join(EXPOSED_HEADERS)
        assert found == {"access-control-allow-origin": SHOP}
        assert "origin" in vary(response)
        assert len(response.headers.get_list("Vary")) == 1
        sent.update(response.headers)
        return response

    headers = {"Api-Key": KEY, "Origin": SHOP}
    async with open_client(app, headers=headers) as client:
        answer = check(await client.get(SEARCH), 200)
        assert vary(answer) == {"authorization", "api-key", "origin"}
        tag = {"If-None-Match": answer.headers["ETag"]}
        assert vary(check(await client.get(SEARCH, headers=tag), 304)) == vary(answer)
        assert "age" in check(await client.get(SEARCH), 200).headers
        check(await client.post(PATH, json={"text_query": "cat"}), 200)
        check(await client.get(STREAM), 200)
        export = check(await client.get("/api/export?format=csv&fields=a"), 200)
        assert vary(export) == {"accept-encoding", "origin"}
        for method, path, status in (
            ("GET", "/api/stats", 200),
            ("GET", "/api/openapi.json", 200),
            ("GET", "/healthz", 200),
            ("GET", "/", 302),
            ("OPTIONS", PATH, 200),
            ("HEAD", SEARCH, 200),
            ("GET", f"{PATH}?text_query=", 422),
            ("GET", "/nowhere", 404),
            ("GET", NOT_CANONICAL, 404),
            ("PUT", PATH, 405),
            ("DELETE", "/api/records/a", 200),
        ):
            check(await client.request(method, path), status)
        begun = check(await client.post(IMPORT, content=RECORD), 202)
        assert "location" in begun.headers
        wrong = {"Api-Key": "wrong"}
        assert "www-authenticate" in check(await client.get(SEARCH, headers=wrong), 401).headers
        upstream.behave(Status(500), "dense")
        check(await client.get(f"{PATH}?text_query=dog"), 503)
    assert sent - NOT_EXPOSED <= {name.lower() for name in EXPOSED_HEADERS}


async def test_rejection_by_admission_gate_has_cors_headers_and_preflight_passes(
    settings: Settings, upstream: Upstream
) -> None:
    gate = Gate()
    upstream.behave(gate, "dense/records/namespaces/__default__/search")
    app = create_app(settings)
    headers = {"Api-Key": KEY, "Origin": SHOP}
    async with open_client(app, headers=headers) as client:
        running = asyncio.create_task(client.get(SEARCH))
        assert await asyncio.to_thread(upstream.wait_for, lambda: len(upstream.searches()) == 1)
        rejected = await client.get(f"{PATH}?text_query=dog")
        assert rejected.status_code == 503
        assert rejected.headers["Access-Control-Allow-Origin"] == SHOP
        assert "Retry-After" in rejected.headers["Access-Control-Expose-Headers"]
        assert "origin" in vary(rejected)
        preflight = await client.options(PATH, headers=preflight_headers(SHOP))
        assert preflight.status_code == 204
        gate.opened.set()
        assert (await running).status_code == 200


async def test_page_reads_why_its_request_rate_is_limited(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    limited = make_settings(service_api_keys=KEY, allowed_origins=SHOP, rate_limit="1/d")
    headers = {"Api-Key": KEY, "Origin": SHOP}
    async with open_client(create_app(limited), headers=headers) as client:
        assert (await client.get(SEARCH)).status_code == 200
        for _ in range(3):
            assert (await client.options(PATH, headers=preflight_headers(SHOP))).is_success
        refused = await client.get(SEARCH)
        assert refused.status_code == 429
        assert refused.headers["Access-Control-Allow-Origin"] == SHOP
        exposed = set(refused.headers["Access-Control-Expose-Headers"].lower().split(", "))
        assert {"retry-after", "ratelimit-limit", "ratelimit-remaining"} <= exposed
        assert set(refused.headers) - NOT_EXPOSED <= exposed


async def test_allowed_methods_are_those_of_all_routes(settings: Settings) -> None:
    methods: set[str] = set()
    for rule in create_app(settings).url_map.iter_rules():
        methods |= rule.methods or set()
    assert methods - {"OPTIONS"} <= set(ALLOWED_METHODS)


async def test_response_without_origin_varies_by_it(settings: Settings, upstream: Upstream) -> None:
    """Otherwise a cache would give it to a page, which then could not read it."""
    async with open_client(create_app(settings), headers={"Api-Key": KEY}) as client:
        for path in (SEARCH, STREAM, "/api/stats", "/nowhere", NOT_CANONICAL):
            response = await client.get(path)
            assert "origin" in vary(response)
            assert cors_headers(response) == {}


async def test_any_origin_gives_the_same_headers_to_all(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    app = create_app(make_settings(service_api_keys=KEY, allowed_origins="*"))
    async with open_client(app, headers={"Api-Key": KEY}) as client:
        for headers in ({}, {"Origin": EVIL}, {"Origin": "null"}):
            response = await client.get(SEARCH, headers=headers)
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in response.headers
            assert vary(response) == {"authorization", "api-key"}
        preflight = await client.options(PATH, headers=preflight_headers(EVIL))
        assert preflight.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("settings", "origin", "status"),
    [
        ({"allowed_origins": "*"}, EVIL, 403),
        ({"allowed_origins": f"*,{SHOP}"}, EVIL, 403),
        ({"allowed_origins": f"*,{SHOP}"}, SHOP, 200),
        ({"allowed_origins": "*", "host": "0.0.0.0"}, EVIL, 200),
        ({"allowed_origins": "*", "service_api_keys": KEY}, EVIL, 200),
    ],
)
async def test_any_origin_does_not_open_the_keyless_service_of_a_laptop(
    make_settings: MakeSettings,
    upstream: Upstream,
    settings: dict[str, Any],
    origin: str,
    status: int,
) -> None:
    """Otherwise each page that its user opens could read the records."""
    app = create_app(make_settings(**settings))
    async with open_client(app, headers={"Origin": origin, "Api-Key": KEY}) as client:
        for path in (SEARCH, "/api/stats", "/api/export"):
            response = await client.get(path)
            assert response.status_code == status
            assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_no_origin_is_allowed_by_default(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    async with open_client(create_app(make_settings(service_api_keys=KEY))) as client:
        preflight = await client.options(PATH, headers=preflight_headers(SHOP))
        answer = await client.get(SEARCH, headers={"Origin": SHOP, "Api-Key": KEY})
        assert cors_headers(preflight) == cors_headers(answer) == {}
        assert not preflight.is_success
