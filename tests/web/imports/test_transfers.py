"""Tests for the limits on concurrent uploads and exports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from quart import Quart

from service.app import create_app
from tests.conftest import MakeSettings
from tests.upstream import After, Gate, Status, Upstream
from tests.web.test_admission_middleware import ASGIRequest

LINE = b'{"_id": "a", "chunk_text": "x"}\n'
FETCH = "dense/vectors/fetch"

End = Callable[[ASGIRequest], Awaitable[object]]


@pytest.fixture
async def app(make_settings: MakeSettings, tmp_path: Path) -> AsyncIterator[Quart]:
    """An app that allows one upload and one export at a time."""
    limits = {"max_transfers": 1, "max_import_bytes": 100_000, "body_timeout_s": 0.5}
    app = create_app(make_settings(data_dir=str(tmp_path), **limits))
    async with app.test_app():
        yield app


def upload(app: Quart, query: str = "", media_type: str = "application/x-ndjson") -> ASGIRequest:
    named = {"content-type": media_type, "transfer-encoding": "chunked", "host": "127.0.0.1"}
    return ASGIRequest(app, f"/api/imports{query}", "POST", **named)


async def start_upload(app: Quart, data_dir: Path) -> ASGIRequest:
    """Start an upload, and wait until its first bytes are stored."""
    request = upload(app).body(LINE, more=True)
    async with asyncio.timeout(60):
        while not list(data_dir.glob("imports/*.part")):  # noqa: ASYNC240 - it is at once
            await asyncio.sleep(0.001)
    return request


async def assert_overloaded(request: ASGIRequest, what: str) -> None:
    body = await request.json()
    assert (await request.status(), body["code"]) == (503, "overloaded")
    assert what in body["detail"]
    assert "MAX_TRANSFERS" in body["detail"]
    assert int(request.headers["retry-after"]) > 0
    assert request.headers["x-request-id"] == body["request_id"]


async def completed(request: ASGIRequest) -> None:
    assert await request.body(b"").status() == 202


async def too_large(request: ASGIRequest) -> None:
    assert await request.body(b"x" * 200_000).status() == 413


async def timed_out(request: ASGIRequest) -> None:
    assert await request.status() == 408


async def disconnected(request: ASGIRequest) -> None:
    request.disconnect()
    await request.task


async def cancelled(request: ASGIRequest) -> None:
    """As the server does on shutdown."""
    request.task.cancel()
    await asyncio.wait({request.task})


@pytest.mark.parametrize("end", [completed, too_large, timed_out, disconnected, cancelled])
async def test_upload_releases_transfer_slot_however_it_ends(
    app: Quart, tmp_path: Path, end: End
) -> None:
    first = await start_upload(app, tmp_path)
    await assert_overloaded(upload(app).body(LINE), "uploads")
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
async def test_rejected_upload_releases_transfer_slot(
    app: Quart, query: str, media_type: str, status: int
) -> None:
    assert await upload(app, query, media_type).body(b"").status() == status
    assert await upload(app).body(LINE).status() == 202


async def test_upload_over_limit_is_rejected_while_sending(app: Quart, tmp_path: Path) -> None:
    """The response does not wait for the rest of the body, and the client may go on sending."""
    first = await start_upload(app, tmp_path)
    second = upload(app).body(LINE, more=True)
    await assert_overloaded(second, "uploads")
    await completed(first)


async def test_uploads_and_exports_have_separate_limits(app: Quart, tmp_path: Path) -> None:
    first = await start_upload(app, tmp_path)
    assert await export(app).status() == 200
    await completed(first)


def export(app: Quart, method: str = "GET", query: str = "") -> ASGIRequest:
    return ASGIRequest(app, f"/api/export{query}", method).body(b"")


def fill(upstream: Upstream, count: int) -> None:
    stored = upstream.records.of("dense")
    for n in range(count):
        stored[f"r{n:05}"] = {"chunk_text": "words " * 200, "n": n}


@pytest.fixture
def many_records(upstream: Upstream) -> Upstream:
    fill(upstream, 1_000)
    return upstream


@pytest.fixture
def blocked_read(many_records: Upstream) -> Gate:
    """Blocks the first read of an export until it is opened."""
    gate = Gate()
    many_records.behave(gate, FETCH)
    return gate


async def export_to_first_page(app: Quart, upstream: Upstream) -> ASGIRequest:
    request = export(app)
    await upstream.until(lambda: any(call.path == "/vectors/fetch" for call in upstream.calls))
    return request


async def export_to_response_start(app: Quart) -> ASGIRequest:
    """The client stops reading after the status."""
    request = export(app)
    request.reads.clear()
    async with asyncio.timeout(60):
        while not request.sent:
            await asyncio.sleep(0.001)
    return request


async def export_to_first_chunk(app: Quart) -> ASGIRequest:
    """The client stops reading after the first chunk."""
    request = await export_to_response_start(app)
    request.reads.set()
    async with asyncio.timeout(60):
        while len(request.sent) < 2:
            await asyncio.sleep(0)
    request.reads.clear()
    return request


async def read_to_end(request: ASGIRequest) -> None:
    request.reads.set()
    assert await request.status() == 200
    assert request.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@pytest.mark.parametrize("end", [disconnected, cancelled])
async def test_export_cancelled_before_first_page_releases_transfer_slot(
    app: Quart, many_records: Upstream, blocked_read: Gate, end: End
) -> None:
    first = await export_to_first_page(app, many_records)
    await assert_overloaded(export(app), "exports")
    await end(first)
    blocked_read.opened.set()
    assert await export(app).status() == 200


@pytest.mark.parametrize("begin", [export_to_response_start, export_to_first_chunk])
@pytest.mark.parametrize("end", [read_to_end, disconnected, cancelled])
async def test_export_holds_transfer_slot_until_end_or_disconnect(
    app: Quart, many_records: Upstream, begin: Callable[[Quart], Awaitable[ASGIRequest]], end: End
) -> None:
    first = await begin(app)
    await assert_overloaded(export(app), "exports")
    await end(first)
    assert await export(app).status() == 200


@pytest.mark.parametrize(("after", "status"), [(0, 422), (5, 200)])
async def test_failed_export_releases_transfer_slot(
    app: Quart, many_records: Upstream, after: int, status: int
) -> None:
    many_records.behave(After(after, Status(400)), FETCH)
    failed = export(app)
    assert await failed.status() == status
    assert failed.sent[-1].get("more_body", False) == (status == 200), "it was never ended"
    many_records.behave(None, FETCH)
    assert await export(app).status() == 200


async def test_rejected_or_head_export_needs_no_transfer_slot(
    app: Quart, many_records: Upstream
) -> None:
    first = await export_to_first_chunk(app)
    assert await export(app, "HEAD").status() == 200
    assert await export(app, query="?format=none").status() == 422
    await read_to_end(first)
