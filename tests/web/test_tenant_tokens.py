"""Tenant tokens over HTTP and the WebSocket: what one tenant can reach of another.

The service has records of two owners. Each token is signed with one key, and opens those of one
owner in the namespaces `shop-*`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Quart

from service.app import create_app
from service.client import sign_tenant_token
from service.settings import load_settings
from tests.conftest import open_client
from tests.web.search.test_as_you_type import connect

ADMIN = "a-key-of-the-service-with-42-characters-xx"
OWNERS = ("ann", "bob")
SEARCH = "/api/lexical-search"
ASKED: dict[str, Any] = {"text_query": "tea", "namespace": "shop-1", "top_k": 2, "depth": 9}


@pytest.fixture
async def app(tmp_path: Path) -> Quart:
    settings = load_settings(
        data_dir=str(tmp_path), service_api_keys=ADMIN, cache_ttl=60, typing_pause_ms=0
    )
    return create_app(settings)


@pytest.fixture
async def api(app: Quart) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(app) as client:
        for namespace in ("shop-1", "other"):
            records = [
                {"_id": f"{owner}-{number}", "chunk_text": f"tea {number}", "owner": owner}
                for owner in OWNERS
                for number in range(4)
            ]
            url = f"/api/records?namespace={namespace}&wait=visible"
            response = await client.post(url, json=records, headers=sent(ADMIN))
            assert response.status_code == 200
        yield client


def sent(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def token(rules: Any, key: str = ADMIN) -> str:
    return sign_tenant_token(key, rules, time.time() + 3600)


@cache
def token_of(owner: str) -> str:
    return token({"shop-*": {"filter": {"owner": {"$eq": owner}}}})


def ids(answer: Any) -> set[str]:
    return {each["_id"].partition("-")[0] for each in answer["results"]}


async def test_tenant_pages_through_its_own_ranking_only(api: httpx.AsyncClient) -> None:
    first = (await api.get(SEARCH, params=ASKED, headers=sent(token_of("ann")))).json()
    found, cursor = ids(first), first["cursor"]
    page = await api.get(SEARCH, params={"cursor": cursor}, headers=sent(token_of("ann")))
    assert page.status_code == 200, page.text
    assert found | ids(page.json()) == {"ann"}
    narrower = token({"shop-1": {"filter": {"owner": {"$eq": "ann"}}}})
    for other in (token_of("bob"), narrower, ADMIN):
        page = await api.get(SEARCH, params={"cursor": cursor}, headers=sent(other))
        assert (page.status_code, page.json()["code"]) == (410, "cursor_expired")


async def cached(api: httpx.AsyncClient, key: str) -> httpx.Response:
    """Search until the answer is in the cache, which takes none for a while after a write."""
    while True:
        response = await api.get(SEARCH, params=ASKED, headers=sent(key))
        if response.headers["X-Cache"] == "hit":
            return response
        await asyncio.sleep(0.05)


async def test_tenants_share_no_cached_answer_and_no_etag(api: httpx.AsyncClient) -> None:
    tags = {ADMIN: (await cached(api, ADMIN)).headers["ETag"]}
    for owner in OWNERS:
        response = await api.get(SEARCH, params=ASKED, headers=sent(token_of(owner)))
        assert response.headers["X-Cache"] == "miss"
        assert "Authorization" in response.headers["Vary"]
        assert ids(response.json()) == {owner}
        tags[token_of(owner)] = (await cached(api, token_of(owner))).headers["ETag"]
    for key in tags:
        for other, tag in tags.items():
            headers = sent(key) | {"If-None-Match": tag}
            response = await api.get(SEARCH, params=ASKED, headers=headers)
            assert response.status_code == (304 if key == other else 200)


async def test_socket_keeps_the_token_of_its_first_message(
    app: Quart, api: httpx.AsyncClient
) -> None:
    async with connect(app) as socket:
        await socket.send({"type": "hello", "key": token_of("ann")})
        await socket.send({"type": "hello", "key": ADMIN})
        await socket.search(1, "tea", "lexical", namespace="shop-1")
        assert ids((await socket.receive_all())[-1]) == {"ann"}
        await socket.search(2, "tea", "lexical", namespace="other")
        assert (await socket.receive())["code"] == "forbidden"
        await socket.search(3, "tea", "lexical", namespace="shop-1", filter={"owner": "bob"})
        assert ids((await socket.receive_all())[-1]) == set()


async def test_first_of_two_valid_keys_counts(api: httpx.AsyncClient) -> None:
    """A proxy that adds a key of its own as `Api-Key` does not widen a token, nor the reverse."""
    both = sent(token_of("ann")) | {"Api-Key": ADMIN}
    response = await api.get(SEARCH, params=ASKED | {"namespace": "other"}, headers=both)
    assert response.status_code == 403
    response = await api.get("/api/stats", headers=sent("not.a.token") | {"Api-Key": ADMIN})
    assert response.status_code == 200


async def test_tenant_of_a_part_of_the_records_writes_nothing(api: httpx.AsyncClient) -> None:
    headers = sent(token_of("ann"))
    record = {"_id": "bob-0", "chunk_text": "mine now", "owner": "ann"}
    for method, path, body in (
        ("POST", "/api/records", [record]),
        ("DELETE", "/api/records", {"ids": ["bob-0"]}),
        ("DELETE", "/api/records/bob-0", None),
        ("POST", "/api/imports", record),
    ):
        url = f"{path}?namespace=shop-1"
        response = await api.request(method, url, json=body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "forbidden"), path
    kept = await api.get("/api/records/bob-0?namespace=shop-1", headers=sent(ADMIN))
    assert kept.json()["owner"] == "bob"


async def test_import_of_a_tenant_writes_to_its_namespace_and_is_its_own(
    api: httpx.AsyncClient,
) -> None:
    mine, theirs = token(["shop-1"]), token(["shop-1", "other"])
    lines = [{"_id": "x1", "chunk_text": "in"}, {"_id": "x2", "chunk_text": "out"}]
    lines[1]["_namespace"] = "other"
    begun = await api.post(
        "/api/imports?namespace=shop-1",
        content="\n".join(map(json.dumps, lines)),
        headers=sent(mine) | {"Content-Type": "application/x-ndjson"},
    )
    path = begun.headers["Location"]
    events = await api.get(f"{path}/events", headers=sent(mine))
    assert '"status":"succeeded"' in events.text
    assert "the key of this import allows only shop-1" in events.text
    for namespace, id, status in (("shop-1", "x1", 200), ("other", "x2", 404)):
        url = f"/api/records/{id}?namespace={namespace}"
        assert (await api.get(url, headers=sent(ADMIN))).status_code == status
    for method, url in (("GET", path), ("GET", f"{path}/events"), ("DELETE", path)):
        assert (await api.request(method, url, headers=sent(theirs))).status_code == 404
    assert (await api.get("/api/imports", headers=sent(theirs))).json()["imports"] == []
