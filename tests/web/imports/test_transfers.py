"""Uploads and exports go on in limited numbers, and each gives its place back however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from quart import Quart

from service.app import create_app
from tests.conftest import MakeSettings
from tests.upstream import After, Gate, Status, Upstream
from tests.web.test_admission_middleware import Request

LINE = b'{"_id": "a", "chunk_text": "x"}\n'
FETCH = "dense/vectors/fetch"

End = Callable[[Request], Awaitable[object]]


@pytest.fixture
async def app(make_settings: MakeSettings, tmp_path: Path) -> AsyncIterator[Quart]:
    """One upload at once, and one export."""
    limits = {"max_transfers": 1, "max_import_bytes": 100_000, "body_timeout_s": 0.5}
    app = create_app(make_settings(data_dir=str(tmp_path), **limits))
    async with app.test_app():
        yield app


def upload(app: Quart, query: str = "", media_type: str = "application/x-ndjson") -> Request:
    named = {"content-type": media_type, "transfer-encoding": "chunked", "host": "127.0.0.1"}
    return Request(app, f"/api/imports{query}", "POST", **named)


async def begun(app: Quart, data_dir: Path) -> Request:
    """An upload whose first bytes are there."""
    request = upload(app).body(LINE, more=True)
    async with asyncio.timeout(60):
        while not list(data_dir.glob("imports/*.part")):  # noqa: ASYNC240 - it is at once
            await asyncio.sleep(0.001)
    return request


async def refused(request: Request, what: str) -> None:
    body = await request.json()
    assert (await request.status(), body["code"]) == (503, "overloaded")
    assert what in body["detail"]
    assert "MAX_TRANSFERS" in body["detail"]
    assert int(request.headers["retry-after"]) > 0
    assert request.headers["x-request-id"] == body["request_id"]


async def completed(request: Request) -> None:
    assert await request.body(b"").status() == 202


async def too_large(request: Request) -> None:
    assert await request.body(b"x" * 200_000).status() == 413


async def timed_out(request: Request) -> None:
    assert await request.status() == 408


async def hung_up(request: Request) -> None:
    request.hang_up()
    await request.task


async def cut_off(request: Request) -> None:
    """As the server does when it has to stop."""
    request.task.cancel()
    await asyncio.wait({request.task})


@pytest.mark.parametrize("end", [completed, too_large, timed_out, hung_up, cut_off])
async def test_an_upload_gives_its_place_back_however_it_ends(
    app: Quart, tmp_path: Path, end: End
) -> None:
    first = await begun(app, tmp_path)
    await refused(upload(app).body(LINE), "uploads")
    await end(first)
    assert await upload(app).body(LINE).status() == 202


@pytest.mark.parametrize(
    ("query", "media_type", "status"),
    [
        ("", "application/x-ndjson", 422),
        ("", "image/png", 415),
        ("", "multipart/form-data; boundary=x", 400),
        ("?format=none", "application/x-ndjson", 422),
    ],
)
async def test_an_upload_that_is_refused_gives_its_place_back(
    app: Quart, query: str, media_type: str, status: int
) -> None:
    assert await upload(app, query, media_type).body(b"").status() == status
    assert await upload(app).body(LINE).status() == 202


async def test_who_may_not_upload_now_is_told_while_it_sends(app: Quart, tmp_path: Path) -> None:
    """Nobody has to have sent all of it to be refused, nor is it cut off in the midst."""
    first = await begun(app, tmp_path)
    second = upload(app).body(LINE, more=True)
    await refused(second, "uploads")
    await completed(first)


async def test_uploads_and_exports_do_not_stand_in_each_others_way(
    app: Quart, tmp_path: Path
) -> None:
    first = await begun(app, tmp_path)
    assert await export(app).status() == 200
    await completed(first)


def export(app: Quart, method: str = "GET", query: str = "") -> Request:
    return Request(app, f"/api/export{query}", method).body(b"")


def fill(upstream: Upstream, count: int) -> None:
    stored = upstream.records.of("dense")
    for n in range(count):
        stored[f"r{n:05}"] = {"chunk_text": "words " * 200, "n": n}


@pytest.fixture
def many(upstream: Upstream) -> Upstream:
    fill(upstream, 1_000)
    return upstream


@pytest.fixture
def reading(many: Upstream) -> Gate:
    """What an export waits for before it has anything to send."""
    gate = Gate()
    many.behave(gate, FETCH)
    return gate


async def at_the_first_page(app: Quart, upstream: Upstream) -> Request:
    request = export(app)
    await upstream.until(lambda: any(call.path == "/vectors/fetch" for call in upstream.calls))
    return request


async def at_the_head(app: Quart) -> Request:
    """Its status is written, and the client reads no more."""
    request = export(app)
    request.reads.clear()
    async with asyncio.timeout(60):
        while not request.sent:
            await asyncio.sleep(0.001)
    return request


async def at_the_body(app: Quart) -> Request:
    """The first bytes are written, and the client reads no more."""
    request = await at_the_head(app)
    request.reads.set()
    async with asyncio.timeout(60):
        while len(request.sent) < 2:
            await asyncio.sleep(0)
    request.reads.clear()
    return request


async def read_to_the_end(request: Request) -> None:
    request.reads.set()
    assert await request.status() == 200
    assert request.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@pytest.mark.parametrize("end", [hung_up, cut_off])
async def test_an_export_gives_its_place_back_before_there_is_anything_to_send(
    app: Quart, many: Upstream, reading: Gate, end: End
) -> None:
    first = await at_the_first_page(app, many)
    await refused(export(app), "exports")
    await end(first)
    reading.opened.set()
    assert await export(app).status() == 200


@pytest.mark.parametrize("begin", [at_the_head, at_the_body])
@pytest.mark.parametrize("end", [read_to_the_end, hung_up, cut_off])
async def test_an_export_has_its_place_until_its_last_byte_or_its_client_is_gone(
    app: Quart, many: Upstream, begin: Callable[[Quart], Awaitable[Request]], end: End
) -> None:
    first = await begin(app)
    await refused(export(app), "exports")
    await end(first)
    assert await export(app).status() == 200


@pytest.mark.parametrize(("after", "status"), [(0, 422), (5, 200)])
async def test_an_export_that_fails_gives_its_place_back(
    app: Quart, many: Upstream, after: int, status: int
) -> None:
    many.behave(After(after, Status(400)), FETCH)
    failed = export(app)
    assert await failed.status() == status
    assert failed.sent[-1].get("more_body", False) == (status == 200), "it was never ended"
    many.behave(None, FETCH)
    assert await export(app).status() == 200


async def test_an_export_that_is_refused_or_only_looked_at_takes_no_place(
    app: Quart, many: Upstream
) -> None:
    first = await at_the_body(app)
    assert await export(app, "HEAD").status() == 200
    assert await export(app, query="?format=none").status() == 422
    await read_to_the_end(first)
