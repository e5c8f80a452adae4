"""Daily quotas over HTTP: what counts, when, and what is refused once they are used up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Quart, g

from service.access.grant import Grant
from service.access.limits import Quota
from service.app import create_app
from tests.conftest import MakeSettings, open_client
from tests.jobs.fixtures import ndjson
from tests.upstream import Status, Upstream
from tests.web.imports.test_imports import wait_until_ended

SEARCH = "/api/semantic-search?text_query=cat"
CASCADE = "/api/cascading-retrieval?text_query=cat"
NDJSON = {"Content-Type": "application/x-ndjson"}


def give_grant(app: Quart, grant: Grant) -> None:
    """Let every request have this grant, once its own is watched: it is of no key."""

    async def set_grant() -> None:
        if "grant" in g:
            g.grant = grant

    hooks: list[Any] = app.before_request_funcs[None]
    (at,) = [at for at, hook in enumerate(hooks) if hook.__name__ == "watch_request"]
    hooks.insert(at + 1, set_grant)


@pytest.fixture
def open_api(make_settings: MakeSettings, tmp_path: Path) -> Any:
    """Opens a service whose callers have a quota."""

    @contextlib.asynccontextmanager
    async def open(quota: Quota, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(make_settings(data_dir=str(tmp_path), **settings))
        give_grant(app, Grant(tenant="t", key_id="a", quota=quota))
        async with open_client(app) as client:
            yield client

    return open


def records(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"_id": str(start + n), "chunk_text": f"cat {n}"} for n in range(count)]


def assert_exceeded(answer: httpx.Response, resource: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded"), answer.text
    assert f"{resource} per day" in answer.json()["detail"]
    assert 0 < int(answer.headers["Retry-After"]) <= 86_400


async def test_read_units_of_searches_count(open_api: Any, upstream: Upstream) -> None:
    async with open_api(Quota(read_units=3), cache_ttl=60) as api:
        assert (await api.get(CASCADE)).json()["receipt"]["stages"]  # one unit for each leg
        assert (await api.get(CASCADE)).headers["X-Cache"] == "hit"
        assert (await api.get(SEARCH)).status_code == 200
        assert_exceeded(await api.get(SEARCH), "read units")
        assert len(upstream.searches("dense")) == 2
        assert (await api.post("/api/records", json=records(1))).status_code == 200


async def test_read_units_of_degraded_search_count(open_api: Any, upstream: Upstream) -> None:
    async with open_api(Quota(read_units=1)) as api:
        upstream.behave(Status(400), "sparse")
        assert (await api.get(CASCADE)).json()["degraded"]
        assert_exceeded(await api.get(CASCADE), "read units")


async def test_written_records_and_bytes_count(open_api: Any) -> None:
    async with open_api(Quota(records=10)) as api:
        assert (await api.post("/api/records", json=records(7))).status_code == 200
        assert_exceeded(await api.post("/api/records", json=records(4)), "10 records")
        assert (await api.post("/api/records", json=records(3))).status_code == 200
        assert_exceeded(await api.post("/api/records", json=records(1)), "10 records")
        assert (await api.get(SEARCH)).status_code == 200
    body = json.dumps(records(5)).encode()
    async with open_api(Quota(bytes=len(body) * 2)) as api:
        headers = {"Content-Type": "application/json"}
        statuses = [
            (await api.post("/api/records", content=body, headers=headers)).status_code
            for _ in range(3)
        ]
        assert statuses == [200, 200, 429]


async def test_records_that_were_not_written_do_not_count(
    open_api: Any, upstream: Upstream
) -> None:
    async with open_api(Quota(records=10)) as api:
        mixed = [*records(3), *({"_id": str(n)} for n in range(7))]
        assert (await api.post("/api/records", json=mixed)).json()["written"] == 3
        upstream.behave(Status(400), "dense")
        upstream.behave(Status(400), "sparse")
        assert (await api.post("/api/records", json=records(7))).status_code == 422
        upstream.behave(None, "dense")
        upstream.behave(None, "sparse")
        assert (await api.post("/api/records", json=records(7))).status_code == 200
        assert_exceeded(await api.post("/api/records", json=records(1)), "records")


async def test_import_beyond_record_quota_fails_with_reason(open_api: Any) -> None:
    async with open_api(Quota(records=120)) as api:
        sent = await api.post("/api/imports", content=ndjson(range(300)), headers=NDJSON)
        job = await wait_until_ended(api, sent.json())
        assert (job["status"], job["written"]) == ("failed", 96)  # a batch of Pinecone
        assert "120 records per day does not suffice" in job["detail"]
        assert (await api.post("/api/records", json=records(24))).status_code == 200
        refused = await api.post("/api/imports", content=ndjson(range(3)), headers=NDJSON)
        assert_exceeded(refused, "records")


async def test_upload_beyond_byte_quota_is_refused(open_api: Any) -> None:
    content = ndjson(range(100))
    quota = len(content) * 3 // 2

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    async with open_api(Quota(bytes=quota)) as api:
        announced = ndjson(range(100_000))[: quota + 1]
        assert_exceeded(
            await api.post("/api/imports", content=announced, headers=NDJSON), f"{quota} bytes"
        )
        first = await api.post("/api/imports", content=chunks(), headers=NDJSON)
        assert first.status_code == 202
        await wait_until_ended(api, first.json())
        second = await api.post("/api/imports", content=chunks(), headers=NDJSON)
        assert_exceeded(second, f"{quota} bytes")
        assert (await api.get("/api/imports")).json()["imports"][0]["id"] == first.json()["id"]


async def test_export_counts_and_is_finished(open_api: Any) -> None:
    async with open_api(Quota(records=150)) as api:
        assert (await api.post("/api/records", json=records(100))).status_code == 200
        assert (await api.head("/api/export")).status_code == 200
        export = await api.get("/api/export")
        assert len(export.text.splitlines()) == 100
        assert_exceeded(await api.get("/api/export"), "records")


async def test_bytes_of_export_count(open_api: Any) -> None:
    async with open_api(Quota(bytes=10_000)) as api:
        body = {"_id": "a", "chunk_text": "x" * 6_000}
        assert (await api.post("/api/records", json=body)).status_code == 200
        plain = {"Accept-Encoding": "identity"}
        assert (await api.get("/api/export", headers=plain)).status_code == 200
        assert_exceeded(await api.get("/api/export", headers=plain), "bytes")


async def test_writes_at_once_do_not_exceed_quota(open_api: Any) -> None:
    async with open_api(Quota(records=25)) as api:
        answers = await asyncio.gather(
            *(api.post("/api/records", json=records(10, 10 * n)) for n in range(5))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429]


async def test_rate_and_quota_of_a_managed_key_apply(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    admin = "the-key-of-the-administrator"
    settings = make_settings(data_dir=str(tmp_path), service_api_keys=admin)
    rights = {"name": "shop", "actions": ["search", "records.write"], "rate": "1/d burst=4"}
    quota = {"records": 2, "read_units": 1}
    async with open_client(create_app(settings)) as api:
        created = await api.post(
            "/api/keys", json={**rights, "quota": quota}, headers={"Api-Key": admin}
        )
        assert created.status_code == 201, created.text
        key = {"Api-Key": created.json()["key"]}
        assert (await api.post("/api/records", json=records(2), headers=key)).status_code == 200
        assert_exceeded(await api.post("/api/records", json=records(1), headers=key), "2 records")
        assert (await api.get(SEARCH, headers=key)).headers["RateLimit-Remaining"] == "2"
        assert_exceeded(await api.get(SEARCH, headers=key), "read units")
        assert "RateLimit-Limit" not in (await api.get(SEARCH, headers={"Api-Key": admin})).headers
