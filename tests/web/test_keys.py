"""API keys over HTTP: who may create, list, rotate and revoke which, and what they then allow."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.access.key_format import new_id, new_key
from service.app import create_app
from service.client import sign_tenant_token
from service.settings import load_settings
from tests.conftest import open_client

ADMIN = "a-key-of-the-service-1"
PATH = "/api/keys"
SEARCH = "/api/lexical-search?text_query=tea"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service on the embedded engine, with a key in its settings."""
    app = create_app(load_settings(data_dir=str(tmp_path), service_api_keys=ADMIN))
    async with open_client(app, headers={"Api-Key": ADMIN}) as client:
        yield client


async def create(api: httpx.AsyncClient, by: str = ADMIN, **rights: Any) -> Any:
    asked = {"name": "app", "actions": ["search"]} | rights
    response = await api.post(PATH, json=asked, headers={"Api-Key": by})
    assert response.status_code == 201, response.text
    assert response.headers["Cache-Control"] == "no-store"
    return response.json()


async def status(api: httpx.AsyncClient, key: str, path: str = SEARCH) -> tuple[int, str | None]:
    response = await api.get(path, headers={"Api-Key": key})
    assert key not in response.text
    return response.status_code, response.json().get("code")


async def test_created_key_allows_its_actions_only(api: httpx.AsyncClient) -> None:
    created = await create(
        api, rate="50/s", quota={"records": 5}, expires_at="2999-01-01T00:00:00Z"
    )
    assert created["key"].startswith(f"csk_{created['id']}_")
    assert await status(api, created["key"]) == (200, None)
    assert await status(api, created["key"], "/api/stats") == (403, "forbidden")
    assert await status(api, created["key"], PATH) == (403, "forbidden")
    response = await api.get(f"{PATH}/{created['id']}")
    shown = response.json()
    assert shown == {name: each for name, each in created.items() if name != "key"}
    assert shown["quota"] == {"read_units": None, "records": 5, "bytes": None}
    listed = await api.get(PATH)
    assert listed.json() == {"keys": [shown]}
    assert listed.headers["Cache-Control"] == "no-store"


async def test_key_sees_only_its_namespaces_and_records(api: httpx.AsyncClient) -> None:
    records = [{"_id": each, "chunk_text": f"tea {each}", "owner": each} for each in ("a", "b")]
    for namespace in ("shop-1", "other"):
        url = f"/api/records?namespace={namespace}&wait=visible"
        assert (await api.post(url, json=records)).status_code == 200
    key = (await create(api, namespaces=["shop-*"], filter={"owner": {"$eq": "a"}}))["key"]
    response = await api.get(f"{SEARCH}&namespace=shop-1", headers={"Api-Key": key})
    assert [each["_id"] for each in response.json()["results"]] == ["a"]
    assert await status(api, key, f"{SEARCH}&namespace=other") == (403, "forbidden")


async def test_key_without_the_text_field_gets_nothing_of_it(api: httpx.AsyncClient) -> None:
    record = {"_id": "a", "chunk_text": "green tea", "owner": "ann"}
    response = await api.post("/api/records?wait=visible", json=record)
    assert response.status_code == 200
    actions = ["search", "records.read", "export"]
    headers = {"Api-Key": (await create(api, actions=actions, fields=["owner"]))["key"]}
    filter = json.dumps({"chunk_text": "green tea"})
    for path in (
        SEARCH,
        f"{SEARCH}&fields=*",
        f"{SEARCH}&fields=chunk_text",
        f"{SEARCH}&explain=true",
        "/api/cascading-retrieval/stream?text_query=tea&fields=*",
        "/api/records/a",
        "/api/export",
        "/api/export?fields=chunk_text",
        "/api/export?format=csv",
        "/api/export?format=csv&fields=chunk_text",
    ):
        response = await api.get(path, headers=headers)
        assert response.status_code == 200, path
        assert "green" not in response.text, path
    for path in (
        f"{SEARCH}&highlight=true",
        f"{SEARCH}&filter={filter}",
        f"/api/export?filter={filter}",
    ):
        assert await status(api, headers["Api-Key"], path) == (403, "forbidden"), path


async def test_revoked_and_rotated_keys_are_refused_at_once(
    api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        first, second = await create(api), await create(api)
        revoked = await api.delete(f"{PATH}/{first['id']}")
        assert revoked.status_code == 200
        assert revoked.json()["revoked_at"]
        assert await status(api, first["key"]) == (401, "key_rejected")
        rotated = await api.post(f"{PATH}/{second['id']}/rotate?grace_s=3600")
        assert rotated.status_code == 200
        newest = await api.post(f"{PATH}/{second['id']}/rotate")
        assert await status(api, second["key"]) == (401, "key_rejected")
        assert await status(api, rotated.json()["key"]) == (401, "key_rejected")
        assert await status(api, newest.json()["key"]) == (200, None)
    for key in (first["key"], second["key"], rotated.json()["key"], newest.json()["key"]):
        assert key not in caplog.text


async def test_rotated_key_is_accepted_until_its_grace_ends(api: httpx.AsyncClient) -> None:
    created = await create(api)
    rotated = (await api.post(f"{PATH}/{created['id']}/rotate?grace_s=3600")).json()
    assert rotated["previous_until"]
    assert {name: rotated[name] for name in ("id", "name", "actions")} == {
        name: created[name] for name in ("id", "name", "actions")
    }
    for key in (created["key"], rotated["key"]):
        assert await status(api, key) == (200, None)


async def test_old_secret_of_a_rotated_key_gives_no_lasting_right(api: httpx.AsyncClient) -> None:
    """Who has stolen a secret must not use its grace to get another one."""
    created = await create(api, actions=["search", "keys"])
    url = f"{PATH}/{created['id']}"
    assert (await api.post(f"{url}/rotate?grace_s=3600")).status_code == 200
    stolen = {"Api-Key": created["key"]}
    assert await status(api, created["key"]) == (200, None)
    for method, path in (("POST", f"{url}/rotate"), ("DELETE", url), ("GET", url)):
        assert (await api.request(method, path, headers=stolen)).status_code == 404
    response = await api.post(PATH, json={"name": "x", "actions": ["search"]}, headers=stolen)
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


async def test_expired_key_is_refused(api: httpx.AsyncClient) -> None:
    created = await create(api, expires_at="2001-01-01T00:00:00Z")
    response = await api.get(SEARCH, headers={"Api-Key": created["key"]})
    assert response.status_code == 401
    assert response.json()["detail"] == "The API key has expired"


async def test_key_manages_no_key_with_more_rights(api: httpx.AsyncClient) -> None:
    full = await create(api, actions=["search", "stats", "keys"])
    narrow = await create(api, actions=["search", "keys"], namespaces=["shop-*"])
    own = await create(api, by=narrow["key"], namespaces=["shop-1"])
    assert await status(api, own["key"], f"{SEARCH}&namespace=shop-1") == (200, None)
    headers = {"Api-Key": narrow["key"]}
    for asked in ({"actions": ["stats"]}, {"namespaces": ["*"]}, {}):
        given = {"name": "x", "actions": ["search"]} | asked
        response = await api.post(PATH, json=given, headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    listed = (await api.get(PATH, headers=headers)).json()["keys"]
    assert {each["id"] for each in listed} == {own["id"], narrow["id"]}
    for method, path in (
        ("GET", full["id"]),
        ("DELETE", full["id"]),
        ("POST", f"{full['id']}/rotate"),
    ):
        response = await api.request(method, f"{PATH}/{path}", headers=headers)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert await status(api, full["key"]) == (200, None)


@pytest.mark.parametrize(
    ("rights", "sentence"),
    [
        ({"actions": ["serach"]}, "actions.0: must be 'search', 'records.read'"),
        ({"namespaces": ["a/b"]}, "namespaces.0: a namespace has 1 to 512 characters"),
        ({"filter": {"a": {"$match_any": "x"}}}, "filter: $match_any is not allowed"),
        ({"filter": {"a": 1}, "actions": ["imports"]}, "can't have the action imports"),
        ({"rate": "often"}, "rate: a rate is a number and a period"),
        ({"expires_at": "tomorrow"}, "expires_at: must be a valid datetime"),
        ({"colour": "red"}, "colour: is not a parameter"),
    ],
)
async def test_wrong_rights_are_explained(
    api: httpx.AsyncClient, rights: dict[str, Any], sentence: str
) -> None:
    response = await api.post(PATH, json={"name": "x", "actions": ["search"]} | rights)
    assert response.status_code == 422
    assert sentence in response.json()["detail"]


async def test_changes_of_keys_are_audited(
    api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "service.audit"):
        created = await create(api)
        await api.post(f"{PATH}/{created['id']}/rotate")
        await api.delete(f"{PATH}/{created['id']}")
        await api.get(PATH)
    lines = [each.getMessage() for each in caplog.records if each.name == "service.audit"]
    assert len(lines) == 3
    for action, line in zip(("create", "rotate", "revoke"), lines, strict=True):
        assert f"action=keys.{action} outcome=success" in line
        assert created["id"] in line


async def test_service_without_keys_gives_none_to_anonymous_callers(tmp_path: Path) -> None:
    async with open_client(create_app(load_settings(data_dir=str(tmp_path)))) as api:
        assert (await api.get(PATH)).json() == {"keys": []}
        for method, path in (("POST", ""), ("DELETE", "/x"), ("POST", "/x/rotate")):
            response = await api.request(method, PATH + path, json={})
            assert (response.status_code, response.json()["code"]) == (403, "writes_closed")
            assert "cascade keys create" in response.json()["detail"]
        assert (await api.get(SEARCH)).status_code == 200
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("keys", [ADMIN, None])
async def test_service_without_its_database_starts_and_refuses_what_it_cannot_check(
    tmp_path: Path, keys: str | None
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # refuses connections
        url = f"postgresql://cascade@127.0.0.1:{unused.getsockname()[1]}/keys"
        settings = load_settings(data_dir=str(tmp_path), service_api_keys=keys, database_url=url)
        async with open_client(create_app(settings)) as api:
            expected = {ADMIN: 200, new_key(new_id()): 503, "": 401} if keys else {"": 503}
            for key, status in expected.items():
                headers = {"Api-Key": key} if key else {}
                response = await api.get(SEARCH, headers=headers)
                assert response.status_code == status
                if status == 503:
                    assert response.json()["code"] == "keys_unavailable"
                    assert response.headers["Retry-After"]
            assert (await api.get("/healthz")).status_code == 200


async def test_token_opens_a_part_of_its_key(api: httpx.AsyncClient) -> None:
    records = [{"_id": each, "chunk_text": f"tea {each}", "owner": each} for each in ("a", "b")]
    for namespace in ("shop-1", "other"):
        url = f"/api/records?namespace={namespace}&wait=visible"
        assert (await api.post(url, json=records)).status_code == 200
    key = (await create(api, actions=["search", "records.read", "keys"]))["key"]
    rules = {"shop-*": {"filter": {"owner": {"$eq": "b"}}}}
    token = sign_tenant_token(key, rules, datetime.now(UTC) + timedelta(hours=1))
    response = await api.get(f"{SEARCH}&namespace=shop-1", headers={"Api-Key": token})
    assert [each["_id"] for each in response.json()["results"]] == ["b"]
    record = "/api/records/{}?namespace=shop-1"
    assert await status(api, token, record.format("b")) == (200, None)
    assert await status(api, token, record.format("a")) == (404, "not_found")
    assert await status(api, token, f"{SEARCH}&namespace=other") == (403, "forbidden")
    assert await status(api, token, PATH) == (403, "forbidden")
    expired = sign_tenant_token(key, rules, datetime.now(UTC) - timedelta(hours=1))
    assert await status(api, expired) == (401, "key_rejected")
    await api.delete(f"{PATH}/{key[4:20]}")
    assert await status(api, token, record.format("b")) == (401, "key_rejected")
