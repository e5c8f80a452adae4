"""What requests leave in the audit log."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.web.auditing import ACTIONS, READ_METHODS, SEARCHES, action_of
from tests.asgi_request import AsgiRequest
from tests.conftest import MakeSettings, open_client
from tests.upstream import Gate, Status, Upstream
from tests.web.search.test_as_you_type import connect, open_app
from tests.web.test_authentication import receive_close_code
from tests.web.test_websockets import rejected_handshake

KEY = "0123456789abcdef-key"
SECRET = "text of a record that is nobody's business"
RECORD = {"_id": "id-of-a-record", "chunk_text": SECRET}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def records(path: Path) -> list[dict[str, Any]]:
    assert KEY not in path.read_text()
    assert SECRET not in path.read_text()
    return [json.loads(line) for line in path.read_text().splitlines()]


async def send(settings: Any, method: str, target: str, **options: Any) -> httpx.Response:
    options.setdefault("headers", {"Api-Key": KEY, "X-Request-Id": "r-1"})
    async with open_client(create_app(settings)) as client:
        return await client.request(method, target, **options)


NDJSON = {"Content-Type": "application/x-ndjson", "Api-Key": KEY, "X-Request-Id": "r-1"}


@pytest.mark.parametrize(
    ("method", "target", "options", "expected"),
    [
        (
            "POST",
            "/api/records?namespace=books",
            {"json": [RECORD, {"_id": ""}]},
            {"action": "records.upsert", "records": 2, "written": 1, "failed": 1},
        ),
        (
            "DELETE",
            "/api/records?namespace=books",
            {"json": {"ids": ["1", "2"]}},
            {"action": "records.delete", "selection": "ids", "ids": 2},
        ),
        (
            "DELETE",
            "/api/records?namespace=books",
            {"json": {"filter": {"chunk_text": {"$eq": SECRET}}}},
            {"action": "records.delete", "selection": "filter"},
        ),
        (
            "DELETE",
            "/api/records?namespace=books",
            {"json": {"all": True}},
            {"action": "records.delete", "selection": "all"},
        ),
        (
            "DELETE",
            "/api/records/1?namespace=books",
            {},
            {"action": "records.delete", "selection": "ids", "ids": 1},
        ),
        (
            "GET",
            "/api/export?namespace=books",
            {},
            {"action": "records.export", "format": "ndjson", "filtered": False},
        ),
        (
            "POST",
            "/api/imports?namespace=books",
            {"content": json.dumps(RECORD), "headers": NDJSON},
            {"action": "imports.create", "format": "ndjson", "status": 202},
        ),
    ],
)
async def test_audit_record_of_a_change_says_who_and_what(
    make_settings: MakeSettings,
    path: Path,
    tmp_path: Path,
    method: str,
    target: str,
    options: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    settings = make_settings(service_api_keys=KEY, audit_log=str(path), data_dir=str(tmp_path))
    response = await send(settings, method, target, **options)
    assert response.is_success, response.text
    (line,) = records(path)
    common = {"outcome": "success", "namespace": "books", "client": "127.0.0.1"}
    expected = common | {"request_id": "r-1", "status": 200} | expected
    assert {name: line.get(name) for name in expected} == expected
    assert re.fullmatch("[0-9a-f]{16}", line["key_id"])


async def test_cancelled_import_is_audited(
    make_settings: MakeSettings, path: Path, tmp_path: Path
) -> None:
    settings = make_settings(service_api_keys=KEY, audit_log=str(path), data_dir=str(tmp_path))
    async with open_client(create_app(settings)) as client:
        begun = await client.post(
            "/api/imports?namespace=books", content=json.dumps(RECORD), headers=NDJSON
        )
        target = begun.headers["Location"]
        assert (await client.delete(target, headers={"Api-Key": KEY})).status_code == 200
    created, cancelled = records(path)
    assert created["import_id"] == cancelled["import_id"] == begun.json()["id"]
    assert (cancelled["action"], cancelled["namespace"]) == ("imports.cancel", "books")


async def test_changes_of_keys_are_audited(
    make_settings: MakeSettings, path: Path, tmp_path: Path
) -> None:
    settings = make_settings(service_api_keys=KEY, audit_log=str(path), data_dir=str(tmp_path))
    async with open_client(create_app(settings), headers={"Api-Key": KEY}) as client:
        rights = {"name": "web shop", "actions": ["search"]}
        made = (await client.post("/api/keys", json=rights)).json()
        rotated = (await client.post(f"/api/keys/{made['id']}/rotate")).json()
        await client.delete(f"/api/keys/{made['id']}")
        await client.get("/api/keys")
        await client.post("/api/keys", json=rights, headers={"Api-Key": made["key"]})
    created, rotation, revoked, refused = records(path)
    assert (created["action"], created["created_key_id"]) == ("keys.create", made["id"])
    assert (created["created_key_name"], created["actions"]) == ("web shop", ["search"])
    assert (rotation["action"], rotation["rotated_key_id"]) == ("keys.rotate", made["id"])
    assert (revoked["action"], revoked["revoked_key_id"]) == ("keys.revoke", made["id"])
    assert (refused["action"], refused["outcome"]) == ("keys.create", "refused")
    lines = str([created, rotation, revoked, refused])
    assert made["key"] not in lines
    assert rotated["key"] not in lines


@pytest.mark.parametrize(
    ("method", "target", "action", "code"),
    [
        ("GET", "/api/semantic-search?text_query=a", "access", "key_rejected"),
        ("POST", "/api/cascading-retrieval", "access", "key_rejected"),
        ("GET", "/api/stats", "access", "key_rejected"),
        ("POST", "/api/records", "records.upsert", "key_rejected"),
        ("GET", "/api/export", "records.export", "key_rejected"),
    ],
)
async def test_refused_request_is_audited(
    make_settings: MakeSettings, path: Path, method: str, target: str, action: str, code: str
) -> None:
    settings = make_settings(service_api_keys=KEY, audit_log=str(path))
    await send(settings, method, target, headers={"Api-Key": KEY + "-wrong"})
    (line,) = records(path)
    assert (line["action"], line["outcome"], line["code"]) == (action, "refused", code)
    assert line["reason"] == "The API key is not valid for this service"
    assert line["route"] == target.partition("?")[0]
    assert "key_id" not in line


async def test_refused_websockets_are_audited(make_settings: MakeSettings, path: Path) -> None:
    settings = make_settings(service_api_keys=KEY, audit_log=str(path))
    async with open_app(settings) as app:
        await rejected_handshake(app, Origin="https://evil.example")
        hello = json.dumps({"type": "hello", "key": "not-the-key-not-the-key"})
        assert await receive_close_code(app, "/api/search/ws", hello) == 1008
        async with connect(app, headers={"Api-Key": KEY}) as search_socket:
            await search_socket.ping()
    lines = records(path)
    assert [line["code"] for line in lines] == ["origin_refused", "key_rejected"]
    assert {(line["action"], line["outcome"]) for line in lines} == {("access", "refused")}


async def test_failed_and_cancelled_writes_are_audited(
    make_settings: MakeSettings, path: Path, upstream: Upstream
) -> None:
    settings = make_settings(service_api_keys=KEY, audit_log=str(path), records_timeout_ms=60_000)
    app = create_app(settings)
    body = json.dumps([RECORD]).encode()
    headers = {"Api-Key": KEY}
    async with app.test_app():
        upstream.behave(Status(403), "dense", "sparse")
        await AsgiRequest(app, "/api/records", "POST", body, headers).headers()
        gate = Gate()
        upstream.behave(gate, "dense", "sparse")
        before = len(upstream.upserts())
        request = AsgiRequest(app, "/api/records", "POST", body, headers)
        await upstream.until(lambda: len(upstream.upserts()) > before)
        await request.disconnect()
        gate.opened.set()
    failed, cancelled = records(path)
    assert (failed["outcome"], failed["status"], failed["records"]) == ("failed", 502, 1)
    assert (cancelled["outcome"], cancelled["records"]) == ("cancelled", 1)
    assert cancelled["action"] == "records.upsert"


async def test_reads_and_searches_are_not_audited(make_settings: MakeSettings, path: Path) -> None:
    settings = make_settings(service_api_keys=KEY, audit_log=str(path))
    async with open_client(create_app(settings), headers={"Api-Key": KEY}) as client:
        await client.get("/api/semantic-search?text_query=a")
        await client.post("/api/semantic-search", json={"text_query": "a"})
        await client.post("/api/cascading-retrieval/stream", json={"text_query": "a"})
        await client.get("/api/records")
        await client.head("/api/export")
        await client.options("/api/records")
        await client.get("/nowhere")
        await client.put("/nowhere")
    assert records(path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
async def test_full_disk_of_the_audit_log_fails_no_request(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(service_api_keys=KEY, audit_log="/dev/full")
    response = await send(settings, "POST", "/api/records", json=[RECORD])
    assert response.status_code == 200
    assert "AUDIT_LOG can't be written" in caplog.text


def test_every_route_that_may_change_something_is_audited(make_settings: MakeSettings) -> None:
    app = create_app(make_settings())
    endpoints = set()
    for rule in app.url_map.iter_rules():
        endpoints.add(rule.endpoint)
        for method in rule.methods - READ_METHODS if rule.methods else ():
            is_search = rule.endpoint.partition(".")[0] in SEARCHES
            assert is_search or action_of(rule.endpoint, method), rule
    assert ACTIONS.keys() <= endpoints
