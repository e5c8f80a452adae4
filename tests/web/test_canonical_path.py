"""Tests that routing reads the same path as the admission gate and the limits of bodies."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from quart import Quart

from service.app import create_app
from service.web.admission_middleware import needs_slot
from service.web.search.as_you_type import PATH as WEBSOCKET_PATH
from tests.conftest import MakeSettings, open_client
from tests.upstream import Upstream
from tests.web.test_websockets import rejected_handshake

VARIANTS = ["/{}", "//{}", "http://h{}", "http://h{};a", "http://h{}?a", "http://h{}#a", "h{}"]
VARIANTS += ["http://[:::]{}", "*", " {}"]


def routes(app: Quart) -> list[tuple[str, str]]:
    """A method and a path of every HTTP route."""
    found = []
    for rule in app.url_map.iter_rules():
        _, path = rule.build(dict.fromkeys(rule.arguments, "x")) or ("", "")
        found += [(method, path) for method in rule.methods or () if not rule.websocket]
    return found


async def test_no_route_is_reached_by_another_spelling_of_its_path(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    app = create_app(make_settings())
    async with app.test_app():
        assert len(routes(app)) > 20
        for method, path in routes(app):
            for variant in VARIANTS:
                target = variant.format(path)
                assert (await status(app, method, target)) == 404, (method, target)


async def status(app: Quart, method: str, target: str) -> int:
    """The status for a path as the scope has it, decoded."""
    sent: list[Any] = []
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": target,
        "raw_path": quote(target).encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 4711),
        "server": ("h", 80),
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asgi: Any = app
    await asgi(scope, receive, send)
    return int(sent[0]["status"])


async def test_path_with_two_slashes_is_404_and_logged(
    local: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="service.access"):
        response = await local.get("http://127.0.0.1//api/stats", headers={"X-Request-Id": "abc"})
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"
    assert "exactly one slash" in response.json()["detail"]
    assert response.headers["X-Request-Id"] == response.json()["request_id"] == "abc"
    line = caplog.records[-1]
    assert line.getMessage() == "GET //api/stats 404 not_found"
    assert vars(line)["request_id"] == "abc"
    assert vars(line)["client"] == "127.0.0.1"


async def test_websocket_path_with_two_slashes_is_404(make_settings: MakeSettings) -> None:
    app = create_app(make_settings())
    async with app.test_app():
        status, body = await rejected_handshake(app, f"/{WEBSOCKET_PATH}")
    assert (status, body["code"]) == (404, "not_found")


@pytest.mark.parametrize("id", ["/", "//", "/a", "a//b", "a/../b", "?", "#", ";a", "%2F"])
async def test_record_id_with_slashes_is_one_path(
    make_settings: MakeSettings, upstream: Upstream, id: str
) -> None:
    app = create_app(make_settings())
    async with open_client(app) as client:
        record = {"_id": id, "chunk_text": "x"}
        assert (await client.post("/api/records", json=record)).json()["written"] == 1
        url = f"/api/records/{quote(id, safe='')}"
        assert needs_slot(f"/api/records/{id}")
        assert json.loads((await client.get(url)).text)["_id"] == id
        assert (await client.delete(url)).status_code == 200
