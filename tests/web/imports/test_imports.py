"""Tests for /api/imports on the embedded engine."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.lifecycle import Lifecycle
from service.settings import load_settings
from tests.asgi_request import AsgiRequest
from tests.conftest import open_client

NDJSON = {"Content-Type": "application/x-ndjson"}
LINES = b'{"_id": "a", "chunk_text": "first"}\n{"_id": "b", "chunk_text": "second", "n": 2}\n'
TIMEOUT_S = 60.0


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings(data_dir=str(tmp_path), max_import_bytes=100_000, body_timeout_s=0.5)
    async with open_client(create_app(settings)) as client:
        yield client


async def wait_until_ended(api: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    """Follow the events of the job, and return its final state."""
    async with asyncio.timeout(TIMEOUT_S):
        answer = await api.get(f"/api/imports/{job['id']}/events")
    last: dict[str, Any] = parse_events(answer.text)[-1][1]
    assert last == (await api.get(f"/api/imports/{job['id']}")).json()
    return last


def parse_events(text: str) -> list[tuple[str, Any]]:
    """Return the names and data of the events in a stream."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def assert_error(answer: httpx.Response, status: int, code: str, *words: str) -> None:
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    for word in words:
        assert word in body["detail"]


def stored_uploads(tmp_path: Path) -> list[str]:
    """The files of uploads on disk."""
    return [path.name for path in tmp_path.glob("imports/*") if path.suffix in UPLOADS]


UPLOADS = {".part", ".spool"}


async def test_import_writes_uploaded_records(api: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await api.post("/api/imports?name=two", content=LINES, headers=NDJSON)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/imports/{job['id']}"
    assert (job["status"], job["name"], job["bytes"]) == ("queued", "two", len(LINES))
    job = await wait_until_ended(api, job)
    assert (job["status"], job["written"], job["failed"]) == ("succeeded", 2, 0)
    assert (job["progress"], job["bytes_read"]) == (1.0, len(LINES))
    assert job["created_at"].endswith("Z")
    assert job["finished_at"] >= job["started_at"] >= job["created_at"]
    assert (await api.get("/api/records/b")).json() == {
        "_id": "b",
        "chunk_text": "second",
        "n": 2,
    }
    assert stored_uploads(tmp_path) == []


CSV = "id,chunk_text,n\na,first,1\nb,second,2\n"


@pytest.mark.parametrize(
    ("query", "content", "headers"),
    [
        ("", LINES, {"Content-Type": "application/jsonl"}),
        ("", gzip.compress(LINES, mtime=0), NDJSON | {"Content-Encoding": "gzip"}),
        ("?format=ndjson", gzip.compress(LINES, mtime=0), {"Content-Type": "application/gzip"}),
        ("?name=x.ndjson.gz", gzip.compress(LINES, mtime=0), {"Content-Type": "application/gzip"}),
        ("", CSV.encode(), {"Content-Type": "text/csv; charset=utf-8"}),
        ("", CSV.replace(",", "\t").encode(), {"Content-Type": "text/tab-separated-values"}),
        ("?delimiter=;", CSV.replace(",", ";").encode(), {"Content-Type": "text/csv"}),
        ("?format=csv", CSV.encode(), {"Content-Type": "application/octet-stream"}),
    ],
)
async def test_import_formats_and_compression(
    api: httpx.AsyncClient, query: str, content: bytes, headers: dict[str, str]
) -> None:
    answer = await api.post(f"/api/imports{query}", content=content, headers=headers)
    job = await wait_until_ended(api, answer.json())
    assert (job["written"], job["failed"], job["errors"]) == (2, 0, [])
    assert (await api.get("/api/records/b")).json()["n"] == 2


@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("records.ndjson", LINES, "application/octet-stream"),
        ("C:\\files\\records.csv", CSV.encode(), "text/csv"),
        ("records.jsonl.gz", gzip.compress(LINES, mtime=0), "application/gzip"),
    ],
)
async def test_import_accepts_multipart_file(
    api: httpx.AsyncClient, name: str, content: bytes, media_type: str
) -> None:
    files = {"file": (name, content, media_type)}
    job = (await api.post("/api/imports", files=files)).json()
    assert job["name"] == name.rpartition("\\")[2]
    assert job["bytes"] == len(content)
    assert (await wait_until_ended(api, job))["written"] == 2


async def test_invalid_lines_are_reported_and_skipped_or_stop_import(
    api: httpx.AsyncClient,
) -> None:
    lines = LINES + b'no JSON\n{"chunk_text": ["x"]}\n{"_id": "c", "chunk_text": "third"}\n'
    job = await wait_until_ended(
        api, (await api.post("/api/imports", content=lines, headers=NDJSON)).json()
    )
    assert (job["status"], job["written"], job["failed"]) == ("succeeded", 3, 2)
    assert [each["line"] for each in job["errors"]] == [3, 4]
    assert "JSON" in job["errors"][0]["detail"]
    assert "text_field" in job["errors"][1]["detail"], "as the API calls it, and not the command"
    url = "/api/imports?on_error=stop"
    job = await wait_until_ended(api, (await api.post(url, content=lines, headers=NDJSON)).json())
    assert (job["status"], job["on_error"]) == ("failed", "stop")
    assert "3" in job["detail"]


async def test_invalid_upload_is_rejected_and_leaves_no_file(
    api: httpx.AsyncClient, tmp_path: Path
) -> None:
    post = api.post
    url = "/api/imports"
    plain = {"Content-Type": "text/plain"}
    assert_error(
        await post(url, content=b"x", headers=plain), 415, "unsupported_media_type", "NDJSON", "CSV"
    )
    brotli = NDJSON | {"Content-Encoding": "br"}
    assert_error(await post(url, content=b"x", headers=brotli), 415, "unsupported_media_type")
    opaque = {"Content-Type": "application/octet-stream"}
    assert_error(await post(url, content=LINES, headers=opaque), 422, "invalid_request", "format")
    assert_error(
        await post(url, content=b"", headers=NDJSON), 422, "invalid_request", "upload is empty"
    )
    for query in ("format=xml", "on_error=maybe", "flatten=2", "delimiter=ab", "namespace=a/b"):
        assert_error(
            await post(f"{url}?{query}", content=LINES, headers=NDJSON), 422, "invalid_request"
        )
    named = await post(f"{url}?name={'n' * 256}", content=LINES, headers=NDJSON)
    assert_error(named, 422, "invalid_request", "name: must have at most 255 characters")
    assert_error(
        await post(f"{url}?x=1", content=LINES, headers=NDJSON), 422, "invalid_request", "x"
    )
    large = b"x" * 100_001
    assert_error(await post(url, content=large, headers=NDJSON), 413, "body_too_large", "100000")

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 10_000

    assert_error(await post(url, content=unannounced(), headers=NDJSON), 413, "body_too_large")
    assert stored_uploads(tmp_path) == []
    assert (await api.get(url)).json() == {"imports": [], "cursor": None}


async def test_upload_larger_than_disk_is_rejected_early(tmp_path: Path) -> None:
    settings = load_settings(data_dir=str(tmp_path), max_import_bytes=2**44)
    announced = NDJSON | {"Content-Length": str(2**44)}
    async with open_client(create_app(settings)) as api:
        answer = await api.post("/api/imports", content=LINES, headers=announced)
        assert_error(answer, 507, "storage_full", "disk", "have to stay free")
    assert stored_uploads(tmp_path) == []


FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.ndjson"\r\n\r\n{}\r\n'
FIELD = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n{}\r\n'


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", FORM, 400),
        (b"garbage", FORM, 400),
        (b"garbage" * 14_000, FORM, 400),
        (PART, FORM, 400),
        (PART + b"--b", FORM, 400),
        (b"--b\r\nno header\r\n\r\nx\r\n--b--\r\n", FORM, 400),
        (PART + b"--b--\r\n", {"Content-Type": "multipart/form-data"}, 400),
        (PART + PART + b"--b--\r\n", FORM, 422),
        (FIELD + b"--b--\r\n", FORM, 422),
        (PART + FIELD + b"--b--\r\n", FORM, 422),
        (b"--b--\r\n", FORM, 422),
    ],
)
async def test_invalid_multipart_form_is_rejected(
    api: httpx.AsyncClient, tmp_path: Path, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await api.post("/api/imports", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] in {"bad_request", "invalid_request"}
    assert stored_uploads(tmp_path) == []


async def test_stalled_upload_times_out(api: httpx.AsyncClient, tmp_path: Path) -> None:
    never = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield LINES
        await never.wait()

    async with asyncio.timeout(TIMEOUT_S):
        answer = await api.post("/api/imports", content=stuck(), headers=NDJSON)
    assert_error(answer, 408, "body_timeout")
    assert stored_uploads(tmp_path) == []


async def test_list_imports_pages_newest_first(api: httpx.AsyncClient) -> None:
    ids: list[str] = []
    for n in range(3):
        job = (await api.post(f"/api/imports?name={n}", content=LINES, headers=NDJSON)).json()
        ids.insert(0, (await wait_until_ended(api, job))["id"])
    first = (await api.get("/api/imports?limit=2")).json()
    assert [job["id"] for job in first["imports"]] == ids[:2]
    second = (await api.get(f"/api/imports?limit=2&cursor={first['cursor']}")).json()
    assert [job["id"] for job in second["imports"]] == ids[2:]
    assert second["cursor"] is None
    done = (await api.get("/api/imports?status=succeeded")).json()["imports"]
    assert [job["id"] for job in done] == ids
    assert (await api.get("/api/imports?status=running")).json()["imports"] == []
    for query in ("limit=0", "limit=x", "status=lost", "cursor=x"):
        assert_error(await api.get(f"/api/imports?{query}"), 422, "invalid_request")


@pytest.mark.parametrize("id", ["x", "0" * 32, "%00", "a" * 4000])
async def test_unknown_import_is_404(api: httpx.AsyncClient, id: str) -> None:
    for answer in (
        await api.get(f"/api/imports/{id}"),
        await api.delete(f"/api/imports/{id}"),
        await api.get(f"/api/imports/{id}/events"),
    ):
        assert_error(answer, 404, "not_found")


async def test_cancel_of_ended_import_has_no_effect(
    api: httpx.AsyncClient,
) -> None:
    job = await wait_until_ended(
        api, (await api.post("/api/imports", content=LINES, headers=NDJSON)).json()
    )
    assert (await api.delete(f"/api/imports/{job['id']}")).json() == job


async def test_import_events_resume_after_last_event_id(api: httpx.AsyncClient) -> None:
    job = await wait_until_ended(
        api, (await api.post("/api/imports", content=LINES, headers=NDJSON)).json()
    )
    url = f"/api/imports/{job['id']}/events"
    whole = await api.get(url)
    assert whole.headers["Content-Type"].startswith("text/event-stream")
    assert parse_events(whole.text)[-2:] == [("progress", job), ("done", job)]
    before = {"Last-Event-ID": str(job["revision"] - 1)}
    assert parse_events((await api.get(url, headers=before)).text)[-1] == ("done", job)
    for garbage in ("x", "-1", "9" * 30, "1.5"):
        again = await api.get(url, headers={"Last-Event-ID": garbage})
        assert parse_events(again.text)[-1] == ("done", job)
    known = await api.get(url, headers={"Last-Event-ID": str(job["revision"])})
    assert (known.status_code, known.content) == (204, b"")


async def test_import_events_resume_before_done_after_disconnect(
    api: httpx.AsyncClient,
) -> None:
    job = await wait_until_ended(
        api, (await api.post("/api/imports", content=LINES, headers=NDJSON)).json()
    )
    url = f"/api/imports/{job['id']}/events"
    *events, done, _ = (await api.get(url)).text.split("\n\n")
    assert "event: done" in done
    ids = [line[4:] for line in "\n".join(events).splitlines() if line.startswith("id: ")]
    again = await api.get(url, headers={"Last-Event-ID": ids[-1] if ids else ""})
    assert parse_events(again.text)[-1] == ("done", job)


async def test_import_events_end_with_retry_on_drain(tmp_path: Path) -> None:
    lifecycle = Lifecycle()
    app = create_app(load_settings(data_dir=str(tmp_path)), lifecycle)
    async with open_client(app) as api:
        job = (await api.post("/api/imports", content=slow_lines(), headers=NDJSON)).json()
        listener = AsgiRequest(app, f"/api/imports/{job['id']}/events")
        async with asyncio.timeout(TIMEOUT_S):
            while not any(b"progress" in each.get("body", b"") for each in listener.sent):
                await asyncio.sleep(0.01)
            lifecycle.drain()
            await listener.done
    body = b"".join(each.get("body", b"") for each in listener.sent)
    assert body.endswith(b"retry: 1000\n\n")
    assert not listener.sent[-1]["more_body"], "it is properly ended"


async def test_head_of_import_events_returns_at_once(
    tmp_path: Path,
) -> None:
    async with open_client(create_app(load_settings(data_dir=str(tmp_path)))) as api:
        job = (await api.post("/api/imports", content=slow_lines(), headers=NDJSON)).json()
        head = await api.head(f"/api/imports/{job['id']}/events")
        assert head.headers["Content-Type"].startswith("text/event-stream")
        still = (await api.delete(f"/api/imports/{job['id']}")).json()
        assert still["status"] == "cancelled", "it had not ended before"


def slow_lines() -> bytes:
    """Records that take some time to import."""
    text = "word " * 2_000
    lines = ({"_id": str(n), "chunk_text": f"{n} {text}"} for n in range(1_000))
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def test_openapi_documents_import_media_types(
    api: httpx.AsyncClient,
) -> None:
    paths = (await api.get("/api/openapi.json")).json()["paths"]
    sent = paths["/api/imports"]["post"]["requestBody"]["content"]
    assert sent.keys() == {"multipart/form-data", "application/octet-stream"}
    answers = paths["/api/imports/{import_id}/events"]["get"]["responses"]
    assert answers["200"]["content"].keys() == {"text/event-stream"}
    assert "content" not in answers["204"]


async def test_cancel_of_running_import_removes_upload(tmp_path: Path) -> None:
    async with open_client(create_app(load_settings(data_dir=str(tmp_path)))) as api:
        job = (await api.post("/api/imports", content=slow_lines(), headers=NDJSON)).json()
        cancelled = (await api.delete(f"/api/imports/{job['id']}")).json()
        assert cancelled["status"] == "cancelled"
        assert cancelled["written"] < 1_000
    assert stored_uploads(tmp_path) == []
