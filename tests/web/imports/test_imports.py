"""Imports over HTTP, on the embedded engine: uploads of every kind, and what is wrong with them."""

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
PATIENCE_S = 60.0


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings(data_dir=str(tmp_path), max_import_bytes=100_000, body_timeout_s=0.5)
    async with open_client(create_app(settings)) as client:
        yield client


async def ended(api: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    """The job when it has ended, as its events tell."""
    async with asyncio.timeout(PATIENCE_S):
        answer = await api.get(f"/api/imports/{job['id']}/events")
    last: dict[str, Any] = events_of(answer.text)[-1][1]
    assert last == (await api.get(f"/api/imports/{job['id']}")).json()
    return last


def events_of(text: str) -> list[tuple[str, Any]]:
    """Names and data of the events in a stream."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def refused(answer: httpx.Response, status: int, code: str, *words: str) -> None:
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    for word in words:
        assert word in body["detail"]


def left(tmp_path: Path) -> list[str]:
    """Uploads that are still on disk."""
    return [path.name for path in tmp_path.glob("imports/*") if path.suffix in UPLOADS]


UPLOADS = {".part", ".spool"}


async def test_an_upload_is_accepted_and_its_records_are_found(
    api: httpx.AsyncClient, tmp_path: Path
) -> None:
    answer = await api.post("/api/imports?name=two", content=LINES, headers=NDJSON)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/imports/{job['id']}"
    assert (job["status"], job["name"], job["bytes"]) == ("queued", "two", len(LINES))
    job = await ended(api, job)
    assert (job["status"], job["written"], job["failed"]) == ("succeeded", 2, 0)
    assert (job["progress"], job["bytes_read"]) == (1.0, len(LINES))
    assert job["created_at"].endswith("Z")
    assert job["finished_at"] >= job["started_at"] >= job["created_at"]
    assert (await api.get("/api/records/b")).json() == {
        "_id": "b",
        "chunk_text": "second",
        "n": 2,
    }
    assert left(tmp_path) == []


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
async def test_a_body_is_what_it_says_it_is(
    api: httpx.AsyncClient, query: str, content: bytes, headers: dict[str, str]
) -> None:
    answer = await api.post(f"/api/imports{query}", content=content, headers=headers)
    job = await ended(api, answer.json())
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
async def test_a_form_with_a_file_will_do(
    api: httpx.AsyncClient, name: str, content: bytes, media_type: str
) -> None:
    files = {"file": (name, content, media_type)}
    job = (await api.post("/api/imports", files=files)).json()
    assert job["name"] == name.rpartition("\\")[2]
    assert job["bytes"] == len(content)
    assert (await ended(api, job))["written"] == 2


async def test_bad_lines_are_named_and_left_out_or_stop_it(api: httpx.AsyncClient) -> None:
    lines = LINES + b'no JSON\n{"chunk_text": ["x"]}\n{"_id": "c", "chunk_text": "third"}\n'
    job = await ended(api, (await api.post("/api/imports", content=lines, headers=NDJSON)).json())
    assert (job["status"], job["written"], job["failed"]) == ("succeeded", 3, 2)
    assert [each["line"] for each in job["errors"]] == [3, 4]
    assert "JSON" in job["errors"][0]["detail"]
    assert "text_field" in job["errors"][1]["detail"], "as the API calls it, and not the command"
    url = "/api/imports?on_error=stop"
    job = await ended(api, (await api.post(url, content=lines, headers=NDJSON)).json())
    assert (job["status"], job["on_error"]) == ("failed", "stop")
    assert "3" in job["detail"]


async def test_what_is_wrong_with_an_upload_is_said_and_nothing_stays(
    api: httpx.AsyncClient, tmp_path: Path
) -> None:
    post = api.post
    url = "/api/imports"
    plain = {"Content-Type": "text/plain"}
    refused(await post(url, json=[]), 415, "unsupported_media_type", "/api/records", "NDJSON")
    refused(await post(url, content=b"x", headers=plain), 415, "unsupported_media_type", "CSV")
    brotli = NDJSON | {"Content-Encoding": "br"}
    refused(await post(url, content=b"x", headers=brotli), 415, "unsupported_media_type")
    opaque = {"Content-Type": "application/octet-stream"}
    refused(await post(url, content=LINES, headers=opaque), 422, "invalid_request", "format")
    refused(await post(url, content=b"", headers=NDJSON), 422, "invalid_request", "upload is empty")
    for query in ("format=xml", "on_error=maybe", "flatten=1", "delimiter=ab", "namespace=a/b"):
        refused(await post(f"{url}?{query}", content=LINES, headers=NDJSON), 422, "invalid_request")
    named = await post(f"{url}?name={'n' * 256}", content=LINES, headers=NDJSON)
    refused(named, 422, "invalid_request", "name: must have at most 255 characters")
    refused(await post(f"{url}?x=1", content=LINES, headers=NDJSON), 422, "invalid_request", "x")
    large = b"x" * 100_001
    refused(await post(url, content=large, headers=NDJSON), 413, "body_too_large", "100000")

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 10_000

    refused(await post(url, content=unannounced(), headers=NDJSON), 413, "body_too_large")
    assert left(tmp_path) == []
    assert (await api.get(url)).json() == {"imports": [], "cursor": None}


async def test_what_no_disk_can_hold_is_refused_before_it_comes(tmp_path: Path) -> None:
    settings = load_settings(data_dir=str(tmp_path), max_import_bytes=2**44)
    announced = NDJSON | {"Content-Length": str(2**44)}
    async with open_client(create_app(settings)) as api:
        answer = await api.post("/api/imports", content=LINES, headers=announced)
        refused(answer, 507, "storage_full", "disk", "have to stay free")
    assert left(tmp_path) == []


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
async def test_a_form_that_is_none_or_has_not_one_file_is_refused(
    api: httpx.AsyncClient, tmp_path: Path, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await api.post("/api/imports", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] in {"bad_request", "invalid_request"}
    assert left(tmp_path) == []


async def test_who_stops_sending_is_waited_for_only_so_long(
    api: httpx.AsyncClient, tmp_path: Path
) -> None:
    never = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield LINES
        await never.wait()

    async with asyncio.timeout(PATIENCE_S):
        answer = await api.post("/api/imports", content=stuck(), headers=NDJSON)
    refused(answer, 408, "body_timeout")
    assert left(tmp_path) == []


async def test_imports_are_listed_newest_first_a_page_at_a_time(api: httpx.AsyncClient) -> None:
    ids: list[str] = []
    for n in range(3):
        job = (await api.post(f"/api/imports?name={n}", content=LINES, headers=NDJSON)).json()
        ids.insert(0, (await ended(api, job))["id"])
    first = (await api.get("/api/imports?limit=2")).json()
    assert [job["id"] for job in first["imports"]] == ids[:2]
    second = (await api.get(f"/api/imports?limit=2&cursor={first['cursor']}")).json()
    assert [job["id"] for job in second["imports"]] == ids[2:]
    assert second["cursor"] is None
    done = (await api.get("/api/imports?status=succeeded")).json()["imports"]
    assert [job["id"] for job in done] == ids
    assert (await api.get("/api/imports?status=running")).json()["imports"] == []
    for query in ("limit=0", "limit=x", "status=lost", "cursor=x"):
        refused(await api.get(f"/api/imports?{query}"), 422, "invalid_request")


@pytest.mark.parametrize("id", ["x", "0" * 32, "%00", "a" * 4000])
async def test_an_import_that_there_is_not_is_not_found(api: httpx.AsyncClient, id: str) -> None:
    for answer in (
        await api.get(f"/api/imports/{id}"),
        await api.delete(f"/api/imports/{id}"),
        await api.get(f"/api/imports/{id}/events"),
    ):
        refused(answer, 404, "not_found")


async def test_one_that_has_ended_can_be_cancelled_without_a_change(
    api: httpx.AsyncClient,
) -> None:
    job = await ended(api, (await api.post("/api/imports", content=LINES, headers=NDJSON)).json())
    assert (await api.delete(f"/api/imports/{job['id']}")).json() == job


async def test_events_go_on_where_somebody_has_stopped_listening(api: httpx.AsyncClient) -> None:
    job = await ended(api, (await api.post("/api/imports", content=LINES, headers=NDJSON)).json())
    url = f"/api/imports/{job['id']}/events"
    whole = await api.get(url)
    assert whole.headers["Content-Type"].startswith("text/event-stream")
    assert events_of(whole.text)[-2:] == [("progress", job), ("done", job)]
    before = {"Last-Event-ID": str(job["revision"] - 1)}
    assert events_of((await api.get(url, headers=before)).text)[-1] == ("done", job)
    for garbage in ("x", "-1", "9" * 30, "1.5"):
        again = await api.get(url, headers={"Last-Event-ID": garbage})
        assert events_of(again.text)[-1] == ("done", job)
    known = await api.get(url, headers={"Last-Event-ID": str(job["revision"])})
    assert (known.status_code, known.content) == (204, b"")


async def test_who_loses_the_connection_just_before_the_end_is_told_of_it(
    api: httpx.AsyncClient,
) -> None:
    job = await ended(api, (await api.post("/api/imports", content=LINES, headers=NDJSON)).json())
    url = f"/api/imports/{job['id']}/events"
    *heard, done, _ = (await api.get(url)).text.split("\n\n")
    assert "event: done" in done
    ids = [line[4:] for line in "\n".join(heard).splitlines() if line.startswith("id: ")]
    again = await api.get(url, headers={"Last-Event-ID": ids[-1] if ids else ""})
    assert events_of(again.text)[-1] == ("done", job)


async def test_who_listens_is_told_to_come_back_when_the_service_stops(tmp_path: Path) -> None:
    lifecycle = Lifecycle()
    app = create_app(load_settings(data_dir=str(tmp_path)), lifecycle)
    async with open_client(app) as api:
        job = (await api.post("/api/imports", content=slow_lines(), headers=NDJSON)).json()
        listener = AsgiRequest(app, f"/api/imports/{job['id']}/events")
        async with asyncio.timeout(PATIENCE_S):
            while not any(b"progress" in each.get("body", b"") for each in listener.sent):
                await asyncio.sleep(0.01)
            lifecycle.drain()
            await listener.done
    said = b"".join(each.get("body", b"") for each in listener.sent)
    assert said.endswith(b"retry: 1000\n\n")
    assert not listener.sent[-1]["more_body"], "it is properly ended"


async def test_who_only_wants_the_head_of_the_events_does_not_wait_for_their_end(
    tmp_path: Path,
) -> None:
    async with open_client(create_app(load_settings(data_dir=str(tmp_path)))) as api:
        job = (await api.post("/api/imports", content=slow_lines(), headers=NDJSON)).json()
        head = await api.head(f"/api/imports/{job['id']}/events")
        assert head.headers["Content-Type"].startswith("text/event-stream")
        still = (await api.delete(f"/api/imports/{job['id']}")).json()
        assert still["status"] == "cancelled", "it had not ended before"


def slow_lines() -> bytes:
    """An import that takes some time."""
    text = "word " * 2_000
    lines = ({"_id": str(n), "chunk_text": f"{n} {text}"} for n in range(1_000))
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def test_its_documentation_says_what_is_sent_and_what_comes_back(
    api: httpx.AsyncClient,
) -> None:
    paths = (await api.get("/api/openapi.json")).json()["paths"]
    sent = paths["/api/imports"]["post"]["requestBody"]["content"]
    assert sent.keys() >= {"application/x-ndjson", "text/csv", "multipart/form-data"}
    answers = paths["/api/imports/{import_id}/events"]["get"]["responses"]
    assert answers["200"]["content"].keys() == {"text/event-stream"}
    assert "content" not in answers["204"]


async def test_one_that_runs_is_cancelled_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with open_client(create_app(load_settings(data_dir=str(tmp_path)))) as api:
        job = (await api.post("/api/imports", content=slow_lines(), headers=NDJSON)).json()
        cancelled = (await api.delete(f"/api/imports/{job['id']}")).json()
        assert cancelled["status"] == "cancelled"
        assert cancelled["written"] < 1_000
    assert left(tmp_path) == []
