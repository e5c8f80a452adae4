"""Tests for security headers, and for what caches may store."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.web.browsers.security_headers import content_security_policy
from tests.conftest import MakeSettings, open_client
from tests.upstream import Upstream
from tests.web.test_canonical_path import routes

PAGES = ["/api/docs", "/", "/docs", "/openapi.json"]
SEARCHES = {"/api/semantic-search", "/api/lexical-search", "/api/cascading-retrieval"}
REVALIDATED = {"/api/openapi.json", *PAGES}


async def test_every_response_has_nosniff_and_resource_policy(
    make_settings: MakeSettings, upstream: Upstream, tmp_path: Path
) -> None:
    app = create_app(make_settings(data_dir=str(tmp_path)))
    async with open_client(app) as client:
        for method, path in [*routes(app), ("GET", "/nowhere"), ("GET", "//a.example//x")]:
            url = f"http://127.0.0.1:8000{path}"
            response = await client.request(method, url, params={"text_query": "cat"})
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "Strict-Transport-Security" not in response.headers


async def test_responses_are_not_stored_but_searches_and_documentation(
    make_settings: MakeSettings, upstream: Upstream, tmp_path: Path
) -> None:
    app = create_app(make_settings(data_dir=str(tmp_path)))
    async with open_client(app) as client:
        assert (await client.post("/api/records", json={"_id": "x", "chunk_text": "x"})).is_success
        checked: dict[str, set[str]] = {}
        for path in [path for method, path in routes(app) if method == "GET"]:
            query = {"text_query": "cat"} if "search" in path or "retrieval" in path else {}
            response = await client.get(path, params=query)
            directive = response.headers["Cache-Control"]
            assert len(response.headers.get_list("Cache-Control")) == 1
            if path in SEARCHES:
                assert directive == "private, no-cache", path
            elif path in REVALIDATED:
                assert directive == "no-cache", path
            else:
                assert directive == "no-store", path
            if response.is_success:
                checked.setdefault(directive, set()).add(path)
    assert {"/api/stats", "/api/namespaces", "/api/records", "/api/records/x", "/api/imports",
            "/api/export", "/healthz", "/readyz"} <= checked["no-store"]  # fmt: skip
    assert checked["private, no-cache"] == SEARCHES


@pytest.mark.parametrize("path", PAGES)
async def test_page_has_security_headers(local: httpx.AsyncClient, path: str) -> None:
    response = await local.get(path)
    policy = response.headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == directives["frame-ancestors"] == "'none'"
    assert directives["base-uri"] == directives["form-action"] == "'none'"
    assert "unsafe" not in policy
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "geolocation=()" in response.headers["Permissions-Policy"]


async def test_policy_of_documentation_allows_its_own_script_and_style_only(
    local: httpx.AsyncClient,
) -> None:
    response = await local.get("/api/docs")
    policy = response.headers["Content-Security-Policy"]
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", response.text, re.DOTALL)
        digest = b64encode(sha256(content.encode()).digest()).decode()
        assert f"; {tag}-src 'sha256-{digest}';" in policy
    assert " style=" not in response.text
    assert not re.search(r"\son[a-z]+=", response.text)


def test_policy_of_page_without_script_allows_none() -> None:
    policy = content_security_policy("<style>a</style><p>script</p>")
    assert "script-src 'none';" in policy
    assert policy.count("sha256-") == 1


@pytest.mark.parametrize(
    ("settings", "headers", "scheme", "expected"),
    [
        ({}, {}, "http", False),
        ({}, {}, "https", True),
        ({}, {"X-Forwarded-Proto": "https"}, "http", False),
        ({"trusted_proxy_hops": 1}, {"X-Forwarded-Proto": "https"}, "http", True),
        ({"trusted_proxy_hops": 1}, {"X-Forwarded-Proto": "http"}, "https", False),
    ],
)
async def test_strict_transport_security_is_sent_over_tls_only(
    make_settings: MakeSettings,
    upstream: Upstream,
    settings: dict[str, Any],
    headers: dict[str, str],
    scheme: str,
    expected: bool,
) -> None:
    app = create_app(make_settings(**settings))
    async with open_client(app, headers=headers, base_url=f"{scheme}://127.0.0.1") as client:
        for path in ("/api/docs", "/healthz", "/api/stats", "/nowhere"):
            sent = (await client.get(path)).headers.get("Strict-Transport-Security", "")
            assert ("max-age=" in sent) == expected
