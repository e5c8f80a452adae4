"""So many requests at once, so many who wait, and the others are sent away in good form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Quart
from starlette.applications import Starlette
from starlette.routing import Mount

from service.app import create_app
from service.lifecycle import Lifecycle
from tests.conftest import MakeSettings
from tests.upstream import Gate, Upstream

PATH = "/api/semantic-search"
SEARCH = f"{PATH}?text_query="


@pytest.fixture
async def app(make_settings: MakeSettings) -> AsyncIterator[Quart]:
    """One request is worked on, two may wait."""
    app = create_app(make_settings(max_in_flight=1, max_waiting=2))
    async with app.test_app():
        yield app


@pytest.fixture
def held(upstream: Upstream) -> Gate:
    """What keeps the upstream from answering."""
    gate = Gate()
    upstream.behave(gate, "dense/records/namespaces/__default__/search")
    return gate


class Request:
    """One request as an ASGI server puts it to the app, piece by piece."""

    def __init__(self, app: Quart, path: str, method: str = "GET", **headers: str) -> None:
        self.sent: list[Any] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        path, _, query = path.partition("?")
        named = {"host": "h", "content-type": "application/json"} | headers
        lines = [(name.encode(), value.encode()) for name, value in named.items()]
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": lines,
            "client": ("127.0.0.1", 4711),
            "server": ("h", 80),
        }
        asgi: Any = app
        self.task = asyncio.create_task(asgi(scope, self._messages.get, self._send))

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        await self.reads.wait()

    def body(self, content: bytes, *, more: bool = False) -> Request:
        self._messages.put_nowait(
            {"type": "http.request", "body": content, "more_body": more},
        )
        return self

    def hang_up(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def status(self) -> int:
        await self.task
        status: int = self.sent[0]["status"]
        return status

    async def json(self) -> Any:
        await self.task
        return json.loads(b"".join(message.get("body", b"") for message in self.sent))

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}


def search(app: Quart, query: str) -> Request:
    return Request(app, SEARCH + query).body(b"")


async def waiting(app: Quart, count: int) -> None:
    """Until so many wait."""
    async with asyncio.timeout(60):
        while len(app.extensions["cascade.admission"].queue) != count:
            await asyncio.sleep(0)


async def full(app: Quart, upstream: Upstream) -> list[Request]:
    """One request at work and two that wait."""
    requests = [search(app, "one")]
    await upstream.until(lambda: len(upstream.searches()) == 1)
    for number, query in enumerate(["two", "three"], 1):
        requests.append(search(app, query))
        await waiting(app, number)
    return requests


async def test_those_who_wait_are_answered_in_the_order_in_which_they_came(
    app: Quart, upstream: Upstream, held: Gate
) -> None:
    requests = await full(app, upstream)
    assert len(upstream.searches()) == 1
    held.opened.set()
    assert [await request.status() for request in requests] == [200, 200, 200]
    asked = [call.body["query"]["inputs"]["text"] for call in upstream.searches()]
    assert asked == ["one", "two", "three"]


async def test_whoever_comes_then_is_sent_away_at_once_and_in_good_form(
    app: Quart, upstream: Upstream, held: Gate
) -> None:
    requests = await full(app, upstream)
    refused = Request(app, SEARCH + "four", **{"x-request-id": "abc-123"}).body(b"")
    assert await refused.status() == 503
    assert await refused.json() == {
        "detail": "The service is overloaded; try again in 1 s",
        "code": "overloaded",
        "request_id": "abc-123",
    }
    held.opened.set()
    answered = requests[0]
    assert await answered.status() == 200
    of_an_answer = {"etag", "x-cache"}
    assert refused.headers.keys() == answered.headers.keys() - of_an_answer | {"retry-after"}
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["x-request-id"] == "abc-123"
    assert refused.headers["content-type"] == "application/json"
    assert {await request.status() for request in requests} == {200}
    assert [call.body["query"]["inputs"]["text"] for call in upstream.searches()][-1] == "three"


async def test_who_only_asks_how_things_are_is_never_held_up(
    app: Quart, upstream: Upstream, held: Gate
) -> None:
    requests = await full(app, upstream)
    for path in ("/healthz", "/readyz", "/api/docs", "/api/openapi.json"):
        assert await Request(app, path).body(b"").status() == 200
    for path in ("/api/stats", "/api/records", "/api/lexical-search?text_query=a", "/api/nowhere"):
        assert await Request(app, path).body(b"").status() == 503
    held.opened.set()
    assert {await request.status() for request in requests} == {200}


async def test_the_wait_is_in_what_a_response_says_it_took(
    app: Quart, upstream: Upstream, held: Gate
) -> None:
    first, second, _ = await full(app, upstream)
    held.opened.set()
    await first.status()
    await second.status()
    assert "queue;dur" not in first.headers["server-timing"]
    stage, _, total = second.headers["server-timing"].split(", ")
    assert stage.startswith("queue;dur=")
    seconds = float(second.headers["x-process-time"])
    assert seconds * 1000 + 0.1 >= float(stage.partition("=")[2])  # both rounded
    assert total.startswith("total;dur=")
    assert float(total.partition("=")[2]) == pytest.approx(seconds * 1000, abs=0.1)


async def test_whoever_hangs_up_while_waiting_leaves_the_line(
    app: Quart, upstream: Upstream, held: Gate
) -> None:
    first, second, third = await full(app, upstream)
    second.hang_up()
    await second.task
    assert second.sent == []
    await waiting(app, 1)
    fourth = search(app, "four")
    await waiting(app, 2)
    held.opened.set()
    assert [await request.status() for request in (first, third, fourth)] == [200, 200, 200]
    asked = [call.body["query"]["inputs"]["text"] for call in upstream.searches()]
    assert asked == ["one", "three", "four"]


async def test_a_request_that_is_cancelled_while_waiting_leaves_the_line_too(
    app: Quart, upstream: Upstream, held: Gate
) -> None:
    first, second, third = await full(app, upstream)
    second.task.cancel()
    await asyncio.wait([second.task])
    await waiting(app, 1)
    held.opened.set()
    assert [await request.status() for request in (first, third)] == [200, 200]
    assert await search(app, "four").status() == 200


async def test_a_body_that_was_sent_while_waiting_is_not_lost(
    app: Quart, upstream: Upstream, held: Gate
) -> None:
    first = search(app, "one")
    await upstream.until(lambda: len(upstream.searches()) == 1)
    content = json.dumps({"text_query": "posted"}).encode()
    posted = Request(app, PATH, "POST", **{"content-length": str(len(content))})
    posted.body(content[:5], more=True).body(content[5:])
    await waiting(app, 1)
    held.opened.set()
    assert [await first.status(), await posted.status()] == [200, 200]
    assert upstream.searches()[-1].body["query"]["inputs"]["text"] == "posted"


async def test_whoever_is_sent_away_may_finish_its_body_before(
    app: Quart, upstream: Upstream, held: Gate
) -> None:
    """Or else the connection is closed while it sends, and the answer is lost."""
    requests = await full(app, upstream)
    posted = Request(app, PATH, "POST", **{"content-length": "9"}).body(b"{", more=True)
    for _ in range(10):
        await asyncio.sleep(0)
    assert posted.sent == []
    posted.body(b"12345678")
    assert await posted.status() == 503
    endless = Request(app, PATH, "POST", **{"content-length": "9"}).body(b"{", more=True)
    assert await endless.status() == 503
    held.opened.set()
    assert {await request.status() for request in requests} == {200}


async def test_whoever_is_slow_to_send_keeps_nobody_from_being_answered(app: Quart) -> None:
    content = json.dumps({"text_query": "slow"}).encode()
    slow = Request(app, PATH, "POST", **{"content-length": str(len(content))})
    slow.body(content[:5], more=True)
    assert await search(app, "quick").status() == 200
    slow.body(content[5:])
    assert await slow.status() == 200
    assert await search(app, "again").status() == 200


async def test_whoever_is_slow_to_read_keeps_nobody_from_being_answered(app: Quart) -> None:
    slow = Request(app, SEARCH + "slow")
    slow.reads.clear()
    slow.body(b"")
    assert await search(app, "quick").status() == 200
    slow.reads.set()
    assert await slow.status() == 200


async def test_a_client_that_goes_away_with_a_place_gives_it_back(
    app: Quart, upstream: Upstream, held: Gate
) -> None:
    gone = search(app, "gone")
    await upstream.until(lambda: len(upstream.searches()) == 1)
    gone.hang_up()
    await gone.task
    half = Request(app, PATH, "POST", **{"content-length": "99"}).body(b"{", more=True)
    half.hang_up()
    await half.task
    held.opened.set()
    assert await search(app, "next").status() == 200


async def test_while_the_app_drains_the_line_is_still_served(
    make_settings: MakeSettings, upstream: Upstream, held: Gate
) -> None:
    lifecycle = Lifecycle()
    app = create_app(make_settings(max_in_flight=1, max_waiting=2), lifecycle)
    async with app.test_app():
        requests = await full(app, upstream)
        lifecycle.drain()
        refused = search(app, "four")
        assert await refused.status() == 503
        assert refused.headers["connection"] == "close"
        held.opened.set()
        assert {await request.status() for request in requests} == {200}


async def test_it_is_there_too_where_the_app_is_mounted_in_another_one(
    app: Quart, upstream: Upstream, held: Gate
) -> None:
    inner: Any = app
    requests = await full(app, upstream)
    transport = httpx.ASGITransport(Starlette(routes=[Mount("/search", app=inner)]))
    async with httpx.AsyncClient(transport=transport, base_url="http://outer") as client:
        refused = await client.get("/search" + SEARCH + "four")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert (await client.get("/search/healthz")).status_code == 200
    held.opened.set()
    assert {await request.status() for request in requests} == {200}


async def test_a_crowd_that_fits_is_answered_whole(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    """With the defaults: 256 at once, in front of a single lane of a single call."""
    settings = make_settings(pinecone_lanes=1, pinecone_lane_calls=1, search_timeout_ms=25_000)
    app = create_app(settings)
    # The queue gives up after some seconds, in which a busy machine may not answer 256 requests.
    app.extensions["cascade.admission"].queue._clock = lambda: 0.0
    async with app.test_app():
        requests = [search(app, str(number)) for number in range(256)]
        assert {await request.status() for request in requests} == {200}


async def test_an_upload_that_goes_on_and_on_keeps_nobody_waiting(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    app = create_app(make_settings(max_in_flight=1, data_dir=str(tmp_path)))
    line = b'{"_id": "a", "chunk_text": "x"}\n'
    named = {
        "host": "127.0.0.1",
        "content-type": "application/x-ndjson",
        "transfer-encoding": "chunked",
    }
    async with app.test_app():
        upload = Request(app, "/api/imports", "POST", **named)
        found = search(app, "cat")
        for _ in range(2_000):  # it is never silent, so its place is not lent
            if found.task.done():
                break
            upload.body(line, more=True)
            await asyncio.sleep(0.001)
        assert found.task.done()
        assert await found.status() == 200
        assert not upload.task.done()
        assert await upload.body(b"").status() == 202
