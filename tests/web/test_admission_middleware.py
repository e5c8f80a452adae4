"""Tests for the admission middleware, which queues and rejects requests."""

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
    """An app with one slot and a queue of two."""
    app = create_app(make_settings(max_in_flight=1, max_waiting=2))
    async with app.test_app():
        yield app


@pytest.fixture
def blocked_upstream(upstream: Upstream) -> Gate:
    """Blocks the upstream until it is opened."""
    gate = Gate()
    upstream.behave(gate, "dense/records/namespaces/__default__/search")
    return gate


class ASGIRequest:
    """A request as an ASGI server passes it to the app, message by message."""

    def __init__(self, app: Quart, path: str, method: str = "GET", **headers: str) -> None:
        self.sent: list[Any] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        path, _, query = path.partition("?")
        named = {"host": "localhost", "content-type": "application/json"} | headers
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

    def body(self, content: bytes, *, more: bool = False) -> ASGIRequest:
        self._messages.put_nowait(
            {"type": "http.request", "body": content, "more_body": more},
        )
        return self

    def disconnect(self) -> None:
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


def start_search(app: Quart, query: str) -> ASGIRequest:
    return ASGIRequest(app, SEARCH + query).body(b"")


async def wait_for_queue(app: Quart, count: int) -> None:
    """Wait until `count` requests are queued."""
    async with asyncio.timeout(60):
        while len(app.extensions["cascade.admission"].queue) != count:
            await asyncio.sleep(0)


async def fill_queue(app: Quart, upstream: Upstream) -> list[ASGIRequest]:
    """Start one request that is served, and two that are queued."""
    requests = [start_search(app, "one")]
    await upstream.until(lambda: len(upstream.searches()) == 1)
    for number, query in enumerate(["two", "three"], 1):
        requests.append(start_search(app, query))
        await wait_for_queue(app, number)
    return requests


async def test_queued_requests_are_served_in_order(
    app: Quart, upstream: Upstream, blocked_upstream: Gate
) -> None:
    requests = await fill_queue(app, upstream)
    assert len(upstream.searches()) == 1
    blocked_upstream.opened.set()
    assert [await request.status() for request in requests] == [200, 200, 200]
    queries = [call.body["query"]["inputs"]["text"] for call in upstream.searches()]
    assert queries == ["one", "two", "three"]


async def test_request_beyond_queue_is_rejected_with_503(
    app: Quart, upstream: Upstream, blocked_upstream: Gate
) -> None:
    requests = await fill_queue(app, upstream)
    rejected = ASGIRequest(app, SEARCH + "four", **{"x-request-id": "abc-123"}).body(b"")
    assert await rejected.status() == 503
    assert await rejected.json() == {
        "detail": "The service is overloaded; try again in 1 s",
        "code": "overloaded",
        "request_id": "abc-123",
    }
    blocked_upstream.opened.set()
    answered = requests[0]
    assert await answered.status() == 200
    search_headers = {"etag", "x-cache"}
    assert rejected.headers.keys() == answered.headers.keys() - search_headers | {"retry-after"}
    assert rejected.headers["retry-after"] == "1"
    assert rejected.headers["x-request-id"] == "abc-123"
    assert rejected.headers["content-type"] == "application/json"
    assert {await request.status() for request in requests} == {200}
    assert [call.body["query"]["inputs"]["text"] for call in upstream.searches()][-1] == "three"


async def test_probes_and_docs_bypass_admission(
    app: Quart, upstream: Upstream, blocked_upstream: Gate
) -> None:
    requests = await fill_queue(app, upstream)
    for path in ("/healthz", "/readyz", "/api/docs", "/api/openapi.json"):
        assert await ASGIRequest(app, path).body(b"").status() == 200
    for path in ("/api/stats", "/api/records", "/api/lexical-search?text_query=a", "/api/nowhere"):
        assert await ASGIRequest(app, path).body(b"").status() == 503
    blocked_upstream.opened.set()
    assert {await request.status() for request in requests} == {200}


async def test_queue_time_is_in_server_timing(
    app: Quart, upstream: Upstream, blocked_upstream: Gate
) -> None:
    first, second, _ = await fill_queue(app, upstream)
    blocked_upstream.opened.set()
    await first.status()
    await second.status()
    assert "queue;dur" not in first.headers["server-timing"]
    stage, _, total = second.headers["server-timing"].split(", ")
    assert stage.startswith("queue;dur=")
    seconds = float(second.headers["x-process-time"])
    assert seconds * 1000 + 0.1 >= float(stage.partition("=")[2])  # both rounded
    assert total.startswith("total;dur=")
    assert float(total.partition("=")[2]) == pytest.approx(seconds * 1000, abs=0.1)


async def test_disconnect_leaves_queue(
    app: Quart, upstream: Upstream, blocked_upstream: Gate
) -> None:
    first, second, third = await fill_queue(app, upstream)
    second.disconnect()
    await second.task
    assert second.sent == []
    await wait_for_queue(app, 1)
    fourth = start_search(app, "four")
    await wait_for_queue(app, 2)
    blocked_upstream.opened.set()
    assert [await request.status() for request in (first, third, fourth)] == [200, 200, 200]
    queries = [call.body["query"]["inputs"]["text"] for call in upstream.searches()]
    assert queries == ["one", "three", "four"]


async def test_cancelled_request_leaves_queue(
    app: Quart, upstream: Upstream, blocked_upstream: Gate
) -> None:
    first, second, third = await fill_queue(app, upstream)
    second.task.cancel()
    await asyncio.wait([second.task])
    await wait_for_queue(app, 1)
    blocked_upstream.opened.set()
    assert [await request.status() for request in (first, third)] == [200, 200]
    assert await start_search(app, "four").status() == 200


async def test_body_sent_while_queued_is_buffered(
    app: Quart, upstream: Upstream, blocked_upstream: Gate
) -> None:
    first = start_search(app, "one")
    await upstream.until(lambda: len(upstream.searches()) == 1)
    content = json.dumps({"text_query": "posted"}).encode()
    posted = ASGIRequest(app, PATH, "POST", **{"content-length": str(len(content))})
    posted.body(content[:5], more=True).body(content[5:])
    await wait_for_queue(app, 1)
    blocked_upstream.opened.set()
    assert [await first.status(), await posted.status()] == [200, 200]
    assert upstream.searches()[-1].body["query"]["inputs"]["text"] == "posted"


async def test_rejection_waits_for_rest_of_body(
    app: Quart, upstream: Upstream, blocked_upstream: Gate
) -> None:
    """Otherwise the client would be disconnected while sending, and lose the response."""
    requests = await fill_queue(app, upstream)
    posted = ASGIRequest(app, PATH, "POST", **{"content-length": "9"}).body(b"{", more=True)
    for _ in range(10):
        await asyncio.sleep(0)
    assert posted.sent == []
    posted.body(b"12345678")
    assert await posted.status() == 503
    endless = ASGIRequest(app, PATH, "POST", **{"content-length": "9"}).body(b"{", more=True)
    assert await endless.status() == 503
    blocked_upstream.opened.set()
    assert {await request.status() for request in requests} == {200}


async def test_slow_upload_lends_its_slot(app: Quart) -> None:
    content = json.dumps({"text_query": "slow"}).encode()
    slow = ASGIRequest(app, PATH, "POST", **{"content-length": str(len(content))})
    slow.body(content[:5], more=True)
    assert await start_search(app, "quick").status() == 200
    slow.body(content[5:])
    assert await slow.status() == 200
    assert await start_search(app, "again").status() == 200


async def lent_slot(app: Quart, content: bytes) -> ASGIRequest:
    """A request that has sent five bytes of its body, and has lent its slot since."""
    admission = app.extensions["cascade.admission"]
    slow = ASGIRequest(app, PATH, "POST", **{"content-length": str(len(content))})
    slow.body(content[:5], more=True)
    while not admission._lent:
        await asyncio.sleep(0.001)
    assert admission.in_use == 0
    return slow


async def test_slow_upload_lends_its_slot_until_it_is_complete(app: Quart) -> None:
    """Many clients that send a byte a second would take slots again for each byte."""
    admission = app.extensions["cascade.admission"]
    content = json.dumps({"text_query": "slow"}).encode()
    slow = await lent_slot(app, content)
    slow.body(content[5:7], more=True)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (admission._lent, admission.in_use) == (1, 0)
    slow.body(content[7:])
    assert await slow.status() == 200
    assert (admission._lent, admission.in_use) == (0, 0)


async def test_loan_ends_with_abandoned_upload(app: Quart) -> None:
    admission = app.extensions["cascade.admission"]
    slow = await lent_slot(app, b'{"text_query": "slow"}')
    slow.task.cancel()
    await asyncio.wait([slow.task])
    assert (admission._lent, admission.in_use) == (0, 0)


async def test_slow_reader_holds_no_slot(app: Quart) -> None:
    slow = ASGIRequest(app, SEARCH + "slow")
    slow.reads.clear()
    slow.body(b"")
    assert await start_search(app, "quick").status() == 200
    slow.reads.set()
    assert await slow.status() == 200


async def test_disconnect_releases_slot(
    app: Quart, upstream: Upstream, blocked_upstream: Gate
) -> None:
    disconnected = start_search(app, "gone")
    await upstream.until(lambda: len(upstream.searches()) == 1)
    disconnected.disconnect()
    await disconnected.task
    half = ASGIRequest(app, PATH, "POST", **{"content-length": "99"}).body(b"{", more=True)
    half.disconnect()
    await half.task
    blocked_upstream.opened.set()
    assert await start_search(app, "next").status() == 200


async def test_draining_app_serves_its_queue(
    make_settings: MakeSettings, upstream: Upstream, blocked_upstream: Gate
) -> None:
    lifecycle = Lifecycle()
    app = create_app(make_settings(max_in_flight=1, max_waiting=2), lifecycle)
    async with app.test_app():
        requests = await fill_queue(app, upstream)
        lifecycle.drain()
        rejected = start_search(app, "four")
        assert await rejected.status() == 503
        assert rejected.headers["connection"] == "close"
        blocked_upstream.opened.set()
        assert {await request.status() for request in requests} == {200}


async def test_admission_in_mounted_app(
    app: Quart, upstream: Upstream, blocked_upstream: Gate
) -> None:
    inner: Any = app
    requests = await fill_queue(app, upstream)
    transport = httpx.ASGITransport(Starlette(routes=[Mount("/search", app=inner)]))
    async with httpx.AsyncClient(transport=transport, base_url="http://outer") as client:
        rejected = await client.get("/search" + SEARCH + "four")
        assert (rejected.status_code, rejected.json()["code"]) == (503, "overloaded")
        assert (await client.get("/search/healthz")).status_code == 200
    blocked_upstream.opened.set()
    assert {await request.status() for request in requests} == {200}


async def test_256_concurrent_requests_are_answered_with_defaults(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    """With a single upstream connection."""
    settings = make_settings(pinecone_lanes=1, pinecone_lane_calls=1, search_timeout_ms=25_000)
    app = create_app(settings)
    # Tickets expire after some seconds, in which a busy machine may not answer 256 requests.
    app.extensions["cascade.admission"].queue._clock = lambda: 0.0
    async with app.test_app():
        requests = [start_search(app, str(number)) for number in range(256)]
        assert {await request.status() for request in requests} == {200}


async def test_long_upload_holds_no_slot(make_settings: MakeSettings, tmp_path: Path) -> None:
    app = create_app(make_settings(max_in_flight=1, data_dir=str(tmp_path)))
    line = b'{"_id": "a", "chunk_text": "x"}\n'
    named = {
        "host": "127.0.0.1",
        "content-type": "application/x-ndjson",
        "transfer-encoding": "chunked",
    }
    async with app.test_app():
        upload = ASGIRequest(app, "/api/imports", "POST", **named)
        search = start_search(app, "cat")
        for _ in range(2_000):  # it never pauses, so its slot is not lent
            if search.task.done():
                break
            upload.body(line, more=True)
            await asyncio.sleep(0.001)
        assert search.task.done()
        assert await search.status() == 200
        assert not upload.task.done()
        assert await upload.body(b"").status() == 202
