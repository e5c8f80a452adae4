"""Exports over HTTP on every backend, and their import."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import gzip
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.ingest.formats import delimited, jsonl
from service.ingest.record import Record, RecordMapping
from tests.conftest import MakeSettings, open_client
from tests.records.test_api import check_error, make_records
from tests.upstream import After, Call, Flaky, Hang, Status, Upstream

RULES = RecordMapping("chunk_text")
PLAIN = {"Accept-Encoding": "identity"}
ODD: list[dict[str, Any]] = [
    {"_id": "=1,2", "chunk_text": "007", "a": "007", "b": "7", "c": 7, "d": 7.5, "e": True},
    {"_id": "\t\"'", "chunk_text": '"quoted"', "a": '"quoted"', "b": "", "f": [], "g": ["", ","]},
    {"_id": "true", "chunk_text": "true", "a": "true", "b": '["a"]', "c": -7, "d": 2**60 + 1},
    {"_id": "ü".encode("ascii", "replace").decode(), "chunk_text": "a\r\nb\0", "ä, b": " \r "},
]


def read(body: bytes, format: str) -> list[dict[str, Any]]:
    """Parses an export as an import does."""
    stream = io.BytesIO(body)
    if format == "csv":
        items = list(delimited.parse(stream, "a", RULES))
    else:
        items = list(jsonl.parse(stream, "a", RULES))
    assert all(isinstance(item, Record) for item in items), items
    return [item.fields for item in items if isinstance(item, Record)]


async def write(api: httpx.AsyncClient, records: list[dict[str, Any]], query: str = "") -> None:
    answer = await api.post(f"/api/records{query}", json=records)
    assert (answer.json()["written"], answer.json()["failed"]) == (len(records), [])


async def test_export_returns_all_records_in_order(api: httpx.AsyncClient) -> None:
    records = [*make_records(250), *ODD]
    await write(api, records)
    in_order = sorted(records, key=lambda record: str(record["_id"]))
    for format, media_type in (("ndjson", "application/x-ndjson"), ("csv", "text/csv")):
        answer = await api.get(f"/api/export?format={format}")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(media_type)
        disposition = f'attachment; filename="__default__.{format}"'
        assert answer.headers["Content-Disposition"] == disposition
        assert read(answer.content, format) == in_order
    assert answer_lines(await api.get("/api/export"))[0].startswith('{"_id":')


def answer_lines(answer: httpx.Response) -> list[str]:
    return answer.text.splitlines()


async def test_export_csv_columns_start_with_id_and_text(api: httpx.AsyncClient) -> None:
    await write(api, [{"_id": "a", "z": 1, "chunk_text": "x", "y": 2}])
    for query, row in (
        ("", {"_id": "a", "chunk_text": "x", "y": "2", "z": "1"}),
        ("&fields=z,nothing", {"_id": "a", "z": "1", "nothing": ""}),
        ("&fields=*", {"_id": "a", "chunk_text": "x", "y": "2", "z": "1"}),
    ):
        answer = await api.get(f"/api/export?format=csv{query}")
        (found,) = csv.DictReader(io.StringIO(answer.text))
        assert list(found.items()) == list(row.items())


async def test_export_with_filter_and_fields(api: httpx.AsyncClient) -> None:
    records = [{**record, "odd": record["n"] % 2 == 1} for record in make_records(310)]
    await write(api, records)
    answer = await api.get(
        "/api/export", params={"filter": '{"odd": {"$eq": true}}', "fields": "n,tags"}
    )
    found = [json.loads(line) for line in answer_lines(answer)]
    assert sorted(found, key=lambda record: record["n"]) == [
        {"_id": record["_id"], "n": record["n"]} for record in records if record["odd"]
    ]


async def test_export_of_empty_namespace_is_empty(api: httpx.AsyncClient) -> None:
    await write(api, make_records(1))
    answer = await api.get("/api/export?namespace=other")
    assert (answer.status_code, answer.content) == (200, b"")
    as_csv = await api.get("/api/export?namespace=other&format=csv")
    assert as_csv.text == "_id,chunk_text\r\n"


async def test_export_during_writes_has_unchanged_records_once(
    api: httpx.AsyncClient,
) -> None:
    staying = make_records(450, "s")
    await write(api, [{**record, "kept": True} for record in staying])
    wanted = sorted(str(record["_id"]) for record in staying)

    async def writes() -> None:
        for n in range(10_000):
            again = [{**record, "kept": True, "n": n} for record in staying[n % 3 :: 3]]
            await write(api, [*again, *make_records(20, "a"), *make_records(20, "z")])
            await api.request("DELETE", "/api/records", json={"ids": ["a000", "z001"]})

    writing = asyncio.create_task(writes())
    try:
        for query in ("", "?format=csv", '?filter={"kept":{"$eq":true}}'):
            answer = await api.get(f"/api/export{query}")
            found = read(answer.content, "csv" if "csv" in query else "ndjson")
            assert [r["_id"] for r in found if str(r["_id"]).startswith("s")] == wanted
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("*", True),
        ("identity;q=0.2, gzip;q=0.3", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("*;q=1, gzip;q=0", False),
        ("identity, gzip;q=0.5", False),
    ],
)
async def test_export_honors_accept_encoding(
    local: httpx.AsyncClient, accepted: str, packed: bool
) -> None:
    await write(local, make_records(3))
    async with local.stream("GET", "/api/export", headers={"Accept-Encoding": accepted}) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert (answer.headers.get("Content-Encoding") == "gzip") == packed
    plain = gzip.decompress(raw) if packed else raw
    assert read(plain, "ndjson") == make_records(3)


async def test_export_head_reads_no_records(local: httpx.AsyncClient, upstream: Upstream) -> None:
    before = len(upstream.calls)
    answer = await local.head("/api/export?format=csv")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert len(upstream.calls) == before


MISTAKES = [
    ("format=xml", "format"),
    ("filter=1", "filter"),
    ("filter={", "filter"),
    ('filter={"n":{"$like":1}}', "filter"),
    ("fields=_id", "fields"),
    ("fields=,a", "fields"),
    ("namespace=a/b", "namespace"),
    ("format=csv&format=csv", "format"),
    ("limit=1", "limit"),
]


@pytest.mark.parametrize(("query", "loc"), MISTAKES)
async def test_export_rejects_invalid_parameters_before_upstream_calls(
    local: httpx.AsyncClient, upstream: Upstream, query: str, loc: str
) -> None:
    before = len(upstream.calls)
    body = check_error(await local.get(f"/api/export?{query}"), 422, "invalid_request")
    assert body["errors"][0]["loc"] == [loc]
    assert len(upstream.calls) == before


async def test_export_failure_before_first_record_is_error_response(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    settings = make_settings(records_timeout_ms=2000)
    async with open_client(create_app(settings)) as client:
        await write(client, make_records(3))
        upstream.behave(Status(503), "dense/vectors/list")
        check_error(await client.get("/api/export"), 503, "upstream_unavailable")
        upstream.behave(Hang(), "dense/vectors/list")
        check_error(await client.get("/api/export?format=csv"), 504, "deadline_exceeded")


@pytest.mark.parametrize("what", ["vectors/list", "vectors/fetch"])
async def test_export_retries_transient_error_midway(
    local: httpx.AsyncClient, upstream: Upstream, what: str
) -> None:
    await write(local, make_records(350))
    upstream.behave(After(2, Flaky(Status(503), 3)), f"dense/{what}")
    assert read((await local.get("/api/export")).content, "ndjson") == make_records(350)


async def test_export_csv_with_too_many_columns_requires_fields(local: httpx.AsyncClient) -> None:
    records = [{"_id": f"{n}", "chunk_text": "x", f"field{n}": n} for n in range(1_001)]
    await write(local, records)
    body = check_error(await local.get("/api/export?format=csv"), 422, "invalid_request")
    assert body["errors"][0]["loc"] == ["fields"]
    named = await local.get("/api/export?format=csv&fields=field7")
    assert len(answer_lines(named)) == 1_002


async def test_export_prefetches_one_page(make_settings: MakeSettings, upstream: Upstream) -> None:
    app = create_app(make_settings())
    async with open_client(app) as client:
        await write(client, make_records(1_500))
        upstream.calls.clear()

        def fetches() -> list[Call]:
            return [call for call in upstream.calls if call.path == "/vectors/fetch"]

        pages = app.extensions["cascade"].all_records.scan("__default__", None, 10)
        async with contextlib.aclosing(pages):
            assert len(await anext(pages)) == 100
            await upstream.until(lambda: len(fetches()) >= 2)
            for _ in range(100):
                await client.get("/healthz")
            assert len(fetches()) <= 3


async def test_export_disconnect_cancels_upstream_calls(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    app = create_app(make_settings())
    async with open_client(app) as client:
        await write(client, make_records(1_500))
        pages = app.extensions["cascade"].all_records.scan("__default__", None, 600)
        await anext(pages)
        before = len(upstream.calls)
        upstream.behave(Hang(), "dense/vectors/list", "dense/vectors/fetch")
        reading = asyncio.create_task(_to_the_end(pages))
        await upstream.until(lambda: len(upstream.calls) > before)
        reading.cancel()
        async with asyncio.timeout(60):
            with contextlib.suppress(asyncio.CancelledError):
                await reading
            await pages.aclose()
        await upstream.until(lambda: upstream.calls[-1].abandoned)


async def _to_the_end(pages: AsyncIterator[Any]) -> None:
    async for _ in pages:
        pass


async def test_export_fetches_long_ids_within_url_limit(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    records = [{"_id": f"{n:03}" + "/" * 500, "chunk_text": "x"} for n in range(100)]
    await write(local, records)
    upstream.calls.clear()
    assert len(answer_lines(await local.get("/api/export"))) == 100
    fetches = [call for call in upstream.calls if call.path == "/vectors/fetch"]
    assert len(fetches) > 10
    assert max(len(call.query["ids"]) for call in fetches) <= 4
