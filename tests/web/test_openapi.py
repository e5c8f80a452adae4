"""Tests of the OpenAPI document. `make check-clients` generates clients from it."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Quart

from service.app import create_app
from service.settings import load_settings
from service.version import VERSION
from service.web.errors import ERROR_CODES
from tests.conftest import open_client

PATH = "/api/openapi.json"
BUILT_INS = {"Array", "Date", "Error", "Event", "Map", "Object", "Omit", "Partial", "Pick"}
BUILT_INS |= {"Promise", "Readonly", "Record", "Request", "Required", "Response", "Set", "String"}
VOLATILE = {"score", "ms", "cursor", "request_id", "candidates"}


@pytest.fixture
def app(tmp_path: Path) -> Quart:
    return create_app(load_settings(data_dir=str(tmp_path), load_samples=True))


@pytest.fixture
async def api(app: Quart) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(app) as client:
        yield client


@pytest.fixture
async def document(api: httpx.AsyncClient) -> Any:
    return (await api.get(PATH)).json()


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            yield from nodes(each)


def operations(document: Any) -> dict[str, Any]:
    return {
        each["operationId"]: each for path in document["paths"].values() for each in path.values()
    }


async def test_openapi_bodies_are_named_components(document: Any) -> None:
    assert document["info"]["version"] == VERSION
    schemas = document["components"]["schemas"]
    assert not BUILT_INS & schemas.keys()
    for operation in operations(document).values():
        for response in operation["responses"].values():
            for media_type, content in response.get("content", {}).items():
                assert "$ref" in content["schema"] or media_type == "text/csv"
        if content := operation.get("requestBody", {}).get("content", {}).get("application/json"):
            assert "$ref" in content["schema"]
    for reference in (each["$ref"] for each in nodes(document) if "$ref" in each):
        _, kind, group, name = reference.split("/")
        assert name in document[kind][group]
    assert len(json.dumps(document)) < 120_000


async def test_openapi_error_codes_are_an_enum(document: Any) -> None:
    schemas, responses = (document["components"][name] for name in ("schemas", "responses"))
    assert schemas["ErrorCode"]["enum"] == ERROR_CODES
    assert schemas["ErrorResponse"]["properties"]["code"] == {
        "$ref": "#/components/schemas/ErrorCode"
    }
    assert "`invalid_request`" in responses["UnprocessableEntity"]["description"]
    assert "`overloaded`" not in responses["UnprocessableEntity"]["description"]
    assert "Retry-After" in responses["ServiceUnavailable"]["headers"]


async def test_openapi_media_types_of_streams_and_files(document: Any) -> None:
    by_id = operations(document)
    streamed = by_id["get_cascading_stream"]["responses"]["200"]["content"]
    assert streamed == {
        "text/event-stream": {"schema": {"$ref": "#/components/schemas/SearchEvent"}}
    }
    exported = by_id["get_export"]["responses"]["200"]["content"]
    assert exported.keys() == {"application/x-ndjson", "text/csv"}
    assert "/api/search/ws" in document["tags"][0]["description"]


async def test_openapi_has_the_errors_that_any_request_may_get(document: Any) -> None:
    for operation in operations(document).values():
        assert {"400", "431"} <= operation["responses"].keys()
    schemas = document["components"]["schemas"]
    codes = {"malformed_request", "headers_too_large", "stopping"}
    assert codes <= {*schemas["ErrorCode"]["enum"]}
    assert {"401", "403", "429"} <= operations(document)["get_stats"]["responses"].keys()


async def test_openapi_record_that_is_read_may_lack_its_text(
    api: httpx.AsyncClient, document: Any
) -> None:
    schemas = document["components"]["schemas"]
    exported = (await api.get("/api/export?fields=title")).text.splitlines()[0]
    assert json.loads(exported).keys() >= set(schemas["ExportedRecord"]["required"])
    assert schemas["NewRecord"]["required"] == ["_id", "chunk_text"]


async def test_openapi_lists_searches_first(document: Any) -> None:
    assert next(iter(operations(document))) == "get_semantic_search"
    assert document["tags"][0]["name"] == "search"


@pytest.mark.parametrize("key", [None, "a-key-of-the-service"])
async def test_openapi_requires_key_only_if_service_does(tmp_path: Path, key: str | None) -> None:
    settings = load_settings(data_dir=str(tmp_path), service_api_keys=key)
    async with open_client(create_app(settings)) as api:
        document = (await api.get(PATH)).json()
    schemes = document["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
    assert document["security"] == ([{name: []} for name in schemes] if key else [])
    assert operations(document)["get_healthz"]["security"] == []


async def test_openapi_is_compressed_for_clients_that_accept_gzip(api: httpx.AsyncClient) -> None:
    packed = await api.get(PATH, headers={"Accept-Encoding": "gzip"})
    plain = await api.get(PATH, headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert packed.content == plain.content
    assert len(gzip.compress(plain.content)) < len(plain.content) / 4


async def test_openapi_is_built_before_the_service_listens(app: Quart) -> None:
    async with app.test_app():
        async with asyncio.timeout(5):  # a build would need the view functions
            app.view_functions = {"openapi": app.view_functions["openapi"]}
            response = await app.test_client().get(PATH)
    assert "/api/records" in (await response.get_json())["paths"]


async def test_openapi_server_is_where_the_service_is_mounted(app: Quart) -> None:
    async with app.test_app():
        asgi: Any = app
        transport = httpx.ASGITransport(asgi, root_path="/mounted")
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            document = (await client.get("/mounted/api/openapi.json")).json()
    assert document["servers"] == [{"url": "/mounted"}]
    assert "/api/records" in document["paths"]


@pytest.mark.parametrize(("short", "target"), [("/docs", "/api/docs"), ("/openapi.json", PATH)])
async def test_short_paths_lead_to_documentation(
    api: httpx.AsyncClient, short: str, target: str
) -> None:
    response = await api.get(short)
    assert response.status_code == 302
    assert response.headers["Location"] == target


async def test_openapi_examples_are_what_the_service_answers(
    api: httpx.AsyncClient, document: Any
) -> None:
    schemas = document["components"]["schemas"]
    example = {name: each["examples"][0] for name, each in schemas.items() if "examples" in each}
    post = "/api/cascading-retrieval"
    stored = "/api/records?namespace=tea"
    for method, url, sent, answer in (
        ("POST", post, example["SearchRequest"], "SearchResponse"),
        ("GET", "/api/semantic-search?text_query=bread&top_k=0", None, "ErrorResponse"),
        ("POST", f"{stored}&wait=visible", example["RecordsBody"], "UpsertResponse"),
        ("GET", stored, None, "RecordIds"),
        ("GET", "/api/records/tea-1?namespace=tea", None, "StoredRecord"),
        ("DELETE", stored, example["DeleteRequest"], "DeleteResponse"),
        ("GET", "/readyz", None, "Readiness"),
    ):
        response = await api.request(method, url, json=sent)
        assert stable(response.json()) == stable(example[answer]), url


def stable(value: Any) -> Any:
    """A JSON value without what differs from one answer to the next."""
    if isinstance(value, dict):
        return {name: ... if name in VOLATILE else stable(each) for name, each in value.items()}
    if isinstance(value, list):  # the stages are in the order in which they ended
        return sorted(map(stable, value), key=str)
    return value
