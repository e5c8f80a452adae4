"""Invalid and generated requests to /api/records: never a 5xx, always the error shape."""

from __future__ import annotations

import json
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.app import create_app
from tests.conftest import MakeSettings, open_client
from tests.upstream import Upstream
from tests.web.search.test_bad_requests import (
    RunningService,
    assert_valid_response,
    many_examples,
    raw_bodies,
    service,
    values,
)

assert service  # a fixture

NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
AT_HOME = {"Host": "127.0.0.1"}
ids = st.text(max_size=6) | st.sampled_from(["a", "..", "a/b", "\0", "i" * 513]) | st.integers()
records = st.dictionaries(
    st.sampled_from(["_id", "id", "chunk_text", "_score", "$x", "x"]), values | ids, max_size=5
)
arrays = st.lists(records | values, max_size=4).map(
    lambda given: json.dumps(given, default=str).encode()
)
lines = st.lists(arrays | raw_bodies, max_size=4).map(b"\n".join)


@many_examples
@given(body=arrays | raw_bodies | lines, headers=st.sampled_from([NDJSON, JSON]))
def test_upsert_survives_generated_bodies(
    service: RunningService, body: bytes, headers: dict[str, str]
) -> None:
    url = "http://127.0.0.1/api/records"
    response = service.ask(httpx.Request("POST", url, content=body, headers={**headers, **AT_HOME}))
    assert_valid_response(response)
    if response.status_code == 200:
        answer = response.json()
        assert answer["written"] > 0
        assert all(each["detail"] for each in answer["failed"])


@many_examples
@given(body=raw_bodies | records.map(lambda given: json.dumps(given, default=str).encode()))
def test_delete_survives_generated_bodies(service: RunningService, body: bytes) -> None:
    url = "http://127.0.0.1/api/records"
    assert_valid_response(
        service.ask(httpx.Request("DELETE", url, content=body, headers={**JSON, **AT_HOME}))
    )


@many_examples
@given(
    method=st.sampled_from(["GET", "DELETE"]),
    path=st.binary(max_size=12),
    query=st.binary(max_size=30),
)
def test_records_survive_generated_paths_and_parameters(
    service: RunningService, method: str, path: bytes, query: bytes
) -> None:
    quoted = "".join(f"%{byte:02x}" for byte in path)
    parts = query.decode("latin1").replace("#", "")
    parameters = "&".join(f"{name}={parts}" for name in ("prefix", "limit", "cursor", "namespace"))
    url = f"http://127.0.0.1/api/records/{quoted}?{httpx.QueryParams(parameters)}"
    assert_valid_response(service.ask(httpx.Request(method, url, headers=AT_HOME)))


RAW = [
    (JSON, b"", "not valid JSON"),
    (JSON, b"{", "not valid JSON"),
    (JSON, b'[{"_id": "a", "chunk_text": "x"}', "not valid JSON"),
    (JSON, b'{"_id": "a", "chunk_text": "\\ud800"}', "not valid JSON"),
    (JSON, b'{"_id": "a", "chunk_text": "\xff"}', "not valid JSON"),
    (JSON, b'{"_id": "a", "chunk_text": "x", "n": NaN}', "not valid JSON"),
    (JSON, b"[" * 100_000, "not valid JSON"),
    (JSON, b'{"a":' * 5000 + b"1" + b"}" * 5000, "not valid JSON"),
    (JSON, b'"text"', "must be a JSON object or an array of JSON objects"),
    (JSON, b"null", "must be a JSON object or an array of JSON objects"),
    (NDJSON, b'{"_id": "a", "chunk_text": "x"}\n{"_id": ', "Line 2 is not valid JSON"),
    (NDJSON, b'{"_id": "a", "chunk_text": "x"}\n\n{}', "Line 2 is empty"),
    (NDJSON, b'{"_id": "a"} {"_id": "b"}', "Line 1 is not valid JSON"),
]


@pytest.mark.parametrize(("headers", "raw", "hint"), RAW)
async def test_unparsable_records_body_is_rejected_as_a_whole(
    local: httpx.AsyncClient, upstream: Upstream, headers: dict[str, str], raw: bytes, hint: str
) -> None:
    response = await local.post("/api/records", content=raw, headers=headers)
    body = response.json()
    assert (response.status_code, body["code"]) == (400, "bad_request")
    assert hint in body["detail"]
    assert upstream.upserts() == []


async def test_records_body_has_its_own_size_limit(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    record = {"_id": "a", "chunk_text": "x" * 30_000}
    settings = make_settings(max_body_bytes=4096, max_records_body_bytes=40_000)
    async with open_client(create_app(settings)) as client:
        assert (await client.post("/api/records", json=record)).status_code == 200
        two = await client.post("/api/records", json=[record, {**record, "_id": "b"}])
        assert (two.status_code, two.json()["code"]) == (413, "body_too_large")
        search = {"text_query": "x" * 5000}
        assert (await client.post("/api/lexical-search", json=search)).status_code == 413


async def test_upsert_rejects_more_than_max_records(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    body = orjson.dumps([{}] * 10_001)
    response = await local.post("/api/records", content=body, headers=JSON)
    assert response.status_code == 422
    assert "at most 10000" in response.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/vnd.records+json"}, 200),
        ({"Content-Type": "application/x-ndjson; charset=utf-8"}, 200),
        ({"Content-Type": "text/csv"}, 415),
    ],
)
async def test_records_media_types(local: httpx.AsyncClient, headers: Any, status: int) -> None:
    body = b'{"_id": "a", "chunk_text": "x"}'
    response = await local.post("/api/records", content=body, headers=headers)
    assert response.status_code == status


async def test_openapi_documents_records(local: httpx.AsyncClient) -> None:
    document = (await local.get("/api/openapi.json")).json()
    paths = document["paths"]
    assert set(paths["/api/records"]) == {"get", "post", "delete"}
    (one,) = [path for path in paths if path.startswith("/api/records/")]
    assert set(paths[one]) == {"get", "delete"}
    for operation in [*paths["/api/records"].values(), *paths[one].values()]:
        assert operation["tags"] == ["records"]
        assert set(operation["responses"]) >= {"200", "401", "422", "503"}
    names = {each["name"] for each in paths["/api/records"]["get"]["parameters"]}
    assert names == {"namespace", "prefix", "limit", "cursor"}
    assert "requestBody" in paths["/api/records"]["delete"]
    assert "prefixItems" not in str(document)  # which the page at /api/docs can't show
