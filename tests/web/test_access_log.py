"""The access log: what the line of a request says, and what it never says."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.logs import JsonFormatter
from tests.asgi_request import AsgiRequest
from tests.conftest import Client, MakeSettings, open_client
from tests.upstream import Gate, Status, Upstream
from tests.web.search.test_as_you_type import connect, open_app

KEY = "0123456789abcdef-key"
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
WISH = "my secret wish"


def access_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    lines = [vars(each) for each in caplog.records if each.name == "service.access"]
    caplog.clear()
    return lines


@pytest.fixture(autouse=True)
def log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def test_access_log_line_has_route_status_client_and_namespace(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await client.get("/api/records/a-1?namespace=books")
    (line,) = access_lines(caplog)
    assert line["route"] == "/api/records/<id:record_id>"
    assert (line["path"], line["status"], line["namespace"]) == ("/api/records/a-1", 404, "books")
    assert line["ms"] > 0


@pytest.mark.parametrize(
    ("method", "path", "body", "namespace"),
    [
        ("GET", "/api/semantic-search?text_query=a&namespace=books", None, "books"),
        ("GET", "/api/lexical-search?text_query=a", None, "__default__"),
        ("POST", "/api/cascading-retrieval", {"text_query": "a", "namespace": "x"}, "x"),
        ("GET", "/api/cascading-retrieval/stream?text_query=a&namespace=x", None, "x"),
        ("GET", "/api/export?namespace=*", None, "*"),
        ("GET", "/api/records?namespace=books", None, "books"),
        ("DELETE", "/api/records?namespace=books", {"ids": ["1"]}, "books"),
        ("GET", "/api/stats", None, None),
        ("GET", "/nowhere", None, None),
    ],
)
async def test_access_log_line_has_the_namespace(
    make_settings: MakeSettings,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    body: Any,
    namespace: str | None,
) -> None:
    async with open_client(create_app(make_settings())) as client:
        await client.request(method, path, json=body)
    (line,) = access_lines(caplog)
    assert line["namespace"] == namespace


async def test_access_log_text_has_no_outcome_that_a_path_has_forged(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await client.get("/x 200  1.0 ms key=admin")
    assert caplog.messages == ["GET /x%20200%20%201.0%20ms%20key=admin 404 not_found"]


async def test_access_log_line_of_a_later_page_has_the_namespace_of_its_ranking(
    make_settings: MakeSettings, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_client(create_app(make_settings(cache_ttl=60, search_depth=5))) as client:
        parameters = {"text_query": "a", "namespace": "books", "top_k": "1"}
        first = await client.get("/api/semantic-search", params=parameters)
        cursor = first.json()["cursor"]
        await client.get("/api/semantic-search", params={"cursor": cursor})
    lines = access_lines(caplog)
    assert [(line["status"], line["namespace"]) for line in lines] == [(200, "books")] * 2


async def test_access_log_line_has_the_key(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_client(create_app(make_settings(service_api_keys=KEY))) as client:
        for headers in ({"Api-Key": KEY}, {"Api-Key": KEY + "no"}, {}):
            await client.get("/api/stats", headers=headers)
    with_key, wrong, without = access_lines(caplog)
    assert len(with_key["key_id"]) == 16
    assert (wrong["key_id"], without["key_id"]) == (None, None)
    assert [line["status"] for line in (with_key, wrong, without)] == [200, 401, 401]
    assert KEY not in caplog.text


async def test_log_lines_have_the_trace_id_of_a_valid_traceparent(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(()))
    logger = logging.getLogger("service.access")
    logger.addHandler(handler)
    try:
        for sent in (TRACEPARENT, TRACEPARENT.replace("00-", "ff-", 1), ""):
            await client.get("/nowhere", headers={"traceparent": sent})
    finally:
        logger.removeHandler(handler)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line[0] == "{"]
    assert [line.get("trace_id") for line in lines] == [TRACE, None, None]


@pytest.mark.parametrize("log_queries", [False, True])
async def test_query_text_is_logged_only_with_log_queries(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture, log_queries: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = make_settings(log_queries=log_queries, typing_pause_ms=0)
    async with open_client(create_app(settings)) as client:
        await client.get("/api/semantic-search", params={"text_query": WISH})
        await client.post("/api/cascading-retrieval/stream", json={"text_query": WISH})
    async with open_app(settings) as app, connect(app) as search_socket:
        await search_socket.search(1, WISH, "semantic")
        await search_socket.receive_all()
    ours = [vars(each) for each in caplog.records if each.name.startswith("service")]
    with_query = [line for line in ours if WISH in str(line)]
    if log_queries:
        assert [line["query"] for line in with_query] == [WISH] * 4
    else:
        assert with_query == []


async def test_query_that_an_upstream_error_quotes_is_not_logged(
    client: Client, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    wish = 'my "secret" wíshes'
    upstream.behave(Status(400, message=f"can't embed {wish}, or {json.dumps(wish)}"), "dense")
    await client.get("/api/semantic-search", query_string={"text_query": wish})
    text = "\n".join(each.getMessage() for each in caplog.records)
    assert "can't embed [query]" in text
    assert "secret" not in text


async def test_access_log_line_of_a_websocket_counts_its_searches(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app(make_settings(typing_pause_ms=0)) as app, connect(app) as search_socket:
        for seq in (1, 2):
            await search_socket.search(seq, "cat", "semantic")
            await search_socket.receive_all()
    (line,) = access_lines(caplog)
    assert (line["route"], line["status"]) == ("/api/search/ws", 101)
    assert (line["searches"], line["namespace"]) == (2, "__default__")


async def test_request_whose_client_has_left_has_a_line(
    make_settings: MakeSettings, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    app = create_app(make_settings())
    async with app.test_app():
        upstream.behave(gate, "dense")
        request = AsgiRequest(app, "/api/semantic-search?text_query=a")
        await upstream.until(lambda: bool(upstream.searches()))
        await request.disconnect()
        gate.opened.set()
    (line,) = access_lines(caplog)
    assert (line["status"], line["code"], line["namespace"]) == (499, "cancelled", "__default__")


async def test_fields_of_an_access_log_line_are_documented(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await client.get("/nowhere")
    (line,) = access_lines(caplog)
    page = (Path(__file__).parents[2] / "docs" / "logs-and-traces.md").read_text()
    fields = {name for name in line if name not in vars(logging.makeLogRecord({}))}
    for name in {*fields, "request_id", "trace_id"} - {"message"}:
        assert re.search(rf"^\|.*`{name}`.*\|", page, re.MULTILINE), name
