"""Records over HTTP, the same on every backend."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from service.app import create_app
from service.settings import load_settings
from tests.conftest import open_client
from tests.upstream import Upstream

RECORD = {"_id": "tea/green 1", "chunk_text": "Green tea", "year": 2026, "tags": ["a", "b"]}
NDJSON = {"Content-Type": "application/x-ndjson"}


def make_records(count: int, prefix: str = "r") -> list[dict[str, Any]]:
    return [{"_id": f"{prefix}{i:03}", "chunk_text": f"text {i}", "n": i} for i in range(count)]


def check_error(response: httpx.Response, status: int, code: str) -> Any:
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert body.keys() <= {"detail", "code", "request_id", "errors"}
    return body


async def test_upsert_get_and_delete_record(api: httpx.AsyncClient, backend: str) -> None:
    written = await api.post("/api/records", json=RECORD)
    counts = (1, 0, 0) if backend == "embedded" else (None, None, None)
    divided = dict(zip(("created", "replaced", "unchanged"), counts, strict=True))
    assert (written.status_code, written.json()) == (200, {"written": 1, **divided, "failed": []})
    at = "/api/records/" + quote(str(RECORD["_id"]), safe="")
    assert (await api.get(at)).json() == RECORD
    reports = backend == "embedded"
    assert (await api.delete(at)).json() == {"deleted": 1 if reports else None}
    check_error(await api.get(at), 404, "not_found")
    gone = await api.delete(at)
    assert (gone.status_code, gone.json()) == (200, {"deleted": 0 if reports else None})


async def test_upsert_existing_id_replaces_record(api: httpx.AsyncClient) -> None:
    await api.post("/api/records", json=RECORD)
    changed = {"_id": RECORD["_id"], "chunk_text": "Black tea"}
    await api.post("/api/records", json=[changed])
    assert (await api.get("/api/records/tea/green 1")).json() == changed


async def test_record_ids_are_preserved(api: httpx.AsyncClient) -> None:
    ids = ["a/b", "/a", "a//b/", "%2F", "a?b#c", "a\nb", "a b+c", "\x7f", "..", "."]
    written = await api.post("/api/records", json=[{"_id": id, "chunk_text": "x"} for id in ids])
    assert written.json()["written"] == len(ids)
    assert (await api.get("/api/records")).json()["ids"] == sorted(ids)
    for id in ids[:-2]:  # dots alone are not sent in a path by any client
        assert (await api.get("/api/records/" + quote(id, safe=""))).json()["_id"] == id
    foreign = await api.post("/api/records", json={"_id": "ü", "chunk_text": "x"})
    assert "ASCII" in check_error(foreign, 422, "invalid_request")["detail"]
    assert (
        "ASCII"
        in check_error(await api.get("/api/records/%C3%BC"), 422, "invalid_request")["detail"]
    )


async def test_upsert_ndjson_has_one_record_per_line(api: httpx.AsyncClient) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in make_records(3)) + "\n"
    written = await api.post("/api/records", content=lines, headers=NDJSON)
    assert (written.json()["written"], written.json()["failed"]) == (3, [])
    assert (await api.get("/api/records")).json()["ids"] == ["r000", "r001", "r002"]


async def test_list_ids_pages_by_prefix(api: httpx.AsyncClient) -> None:
    await api.post("/api/records", json=[*make_records(7, "a"), *make_records(2, "b")])
    pages: list[list[str]] = []
    cursor = ""
    while len(pages) < 10:
        page = (await api.get(f"/api/records?prefix=a&limit=3{cursor}")).json()
        pages.append(page["ids"])
        if page["cursor"] is None:
            break
        cursor = "&cursor=" + quote(page["cursor"])
    assert [len(ids) for ids in pages] == [3, 3, 1]
    assert [id for ids in pages for id in ids] == [f"a00{i}" for i in range(7)]
    body = check_error(await api.get("/api/records?cursor=nonsense"), 422, "invalid_request")
    assert body["errors"][0]["loc"] == ["cursor"]


async def test_upsert_writes_valid_records_and_names_invalid_ones(api: httpx.AsyncClient) -> None:
    records = [
        *make_records(2),
        {"_id": "x", "chunk_text": ""},
        {"_id": "y"},
        {"chunk_text": "z"},
        7,
    ]
    answer = await api.post("/api/records", json=records)
    assert answer.status_code == 200
    body = answer.json()
    assert body["written"] == 2
    assert [(each["index"], each["_id"]) for each in body["failed"]] == [
        (2, "x"), (3, "y"), (4, None), (5, None),
    ]  # fmt: skip
    assert {each["code"] for each in body["failed"]} == {"invalid_request"}
    assert "chunk_text" in body["failed"][0]["detail"]


async def test_upsert_without_valid_record_reports_each_error(api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/records", json=[{"_id": "x"}, {"_id": "y", "chunk_text": None}])
    body = check_error(answer, 422, "invalid_request")
    assert [error["loc"] for error in body["errors"]] == [[0], [1]]
    assert body["detail"].startswith("No record was written. Record 0: chunk_text")
    for nothing in ("[]", ""):
        headers = NDJSON if not nothing else {"Content-Type": "application/json"}
        empty = await api.post("/api/records", content=nothing, headers=headers)
        assert "no record" in check_error(empty, 422, "invalid_request")["detail"]


async def test_delete_by_ids_by_filter_and_all(api: httpx.AsyncClient, backend: str) -> None:
    async def delete(what: Any) -> httpx.Response:
        return await api.request("DELETE", "/api/records", json=what)

    async def left() -> list[str]:
        return (await api.get("/api/records")).json()["ids"]  # type: ignore[no-any-return]

    await api.post("/api/records", json=make_records(6))
    answer = await delete({"ids": ["r000", "r001", "nobody"]})
    assert answer.json() == {"deleted": 2 if backend == "embedded" else None}
    assert await left() == ["r002", "r003", "r004", "r005"]
    answer = await delete({"filter": {"n": {"$eq": 3}}})
    assert answer.json()["deleted"] in ({1} if backend == "embedded" else {1, None})
    assert await left() == ["r002", "r004", "r005"]
    answer = await delete({"all": True})
    assert answer.json() == {"deleted": 3 if backend == "embedded" else None}
    assert await left() == []


MISTAKES: list[tuple[Any, str]] = [
    ({}, "exactly one of ids, filter and all"),
    ({"ids": ["a"], "all": True}, "exactly one"),
    ({"ids": ["a"], "filter": {"n": 1}}, "exactly one"),
    ({"all": False}, "all"),
    ({"all": 1}, "all"),
    ({"ids": []}, "at least 1"),
    ({"ids": ["ü"]}, "ASCII"),
    ({"ids": "a"}, "list of strings"),
    ({"filter": {}}, '{"all": true}'),
    ({"filter": {"n": {"$like": 1}}}, "not an operator"),
    ({"everything": True}, "the parameters are ids, filter, all"),
]


async def test_delete_rejects_ambiguous_request(api: httpx.AsyncClient) -> None:
    await api.post("/api/records", json=make_records(1))
    for what, hint in MISTAKES:
        answer = await api.request("DELETE", "/api/records", json=what)
        assert hint in check_error(answer, 422, "invalid_request")["detail"]
    for body in (b"", b"null", b"[]", b"true"):
        headers = {"Content-Type": "application/json"}
        raw = await api.request("DELETE", "/api/records", content=body, headers=headers)
        check_error(raw, 400, "bad_request")
    assert (await api.get("/api/records")).json()["ids"] == ["r000"]


async def test_namespaces_are_isolated(api: httpx.AsyncClient) -> None:
    await api.post("/api/records?namespace=one", json=make_records(2))
    await api.post("/api/records?namespace=two", json=make_records(3))
    assert len((await api.get("/api/records?namespace=one")).json()["ids"]) == 2
    check_error(await api.get("/api/records/r000"), 404, "not_found")
    assert (await api.get("/api/records/r000?namespace=two")).status_code == 200
    await api.request("DELETE", "/api/records?namespace=two", json={"all": True})
    async with asyncio.timeout(60):  # the embedded engine, too, counts a moment later
        while (stats := await record_counts(api)) != {"dense": (2, 2, 0), "sparse": (2, 2, 0)}:
            assert stats.keys() == {"dense", "sparse"}


async def test_namespaces_are_listed_with_their_counts(api: httpx.AsyncClient) -> None:
    assert (await api.get("/api/namespaces")).json() == {"namespaces": {}}
    await api.post("/api/records?namespace=two", json=make_records(2))
    await api.post("/api/records?namespace=one", json=make_records(1))
    listed = (await api.get("/api/namespaces")).json()["namespaces"]
    assert listed == {"one": {"records": 1}, "two": {"records": 2}}
    assert [*listed] == ["one", "two"]


async def test_namespace_list_has_larger_count_of_two_indexes(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    await local.post("/api/records", json=make_records(1))
    upstream.records.of("sparse")["late"] = {"chunk_text": "x"}
    listed = (await local.get("/api/namespaces")).json()["namespaces"]
    assert listed == {"__default__": {"records": 2}}


async def record_counts(api: httpx.AsyncClient) -> dict[str, tuple[int, ...]]:
    """Per index: all records, and those in the namespaces `one` and `two`."""
    stats = (await api.get("/api/stats")).json()
    return {
        name: (index["records"], *(records_in(index, each) for each in ("one", "two")))
        for name, index in stats["indexes"].items()
    }


def records_in(index: Any, namespace: str) -> int:
    return int(index["namespaces"].get(namespace, {"records": 0})["records"])


async def test_wait_visible_is_rejected_with_pinecone(
    local: httpx.AsyncClient,
) -> None:
    answer = await local.post("/api/records?wait=visible", json=RECORD)
    assert check_error(answer, 422, "invalid_request")["errors"][0]["loc"] == ["wait"]
    check_error(await local.get("/api/records/tea/green 1"), 404, "not_found")


async def test_wait_visible_returns_after_write_is_searchable(tmp_path: Path) -> None:
    async with open_client(create_app(load_settings(data_dir=str(tmp_path)))) as client:
        for word in ("green", "black", "white"):
            record = {"_id": "tea", "chunk_text": f"{word} tea"}
            assert (await client.post("/api/records?wait=visible", json=record)).json()["written"]
            found = (await client.get(f"/api/lexical-search?text_query={word}")).json()["results"]
            assert [result["_id"] for result in found] == ["tea"]
        await client.delete("/api/records/tea?wait=visible")
        gone = (await client.get("/api/lexical-search?text_query=tea")).json()["results"]
        assert gone == []


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("prefix=%C3%BC", "prefix"),
        ("namespace=a/b", "namespace"),
        ("cursor=", "cursor"),
        ("wait=visible", "wait"),
        ("limit=1&limit=2", "limit"),
    ],
)
async def test_list_rejects_invalid_parameters(
    local: httpx.AsyncClient, query: str, loc: str
) -> None:
    body = check_error(await local.get(f"/api/records?{query}"), 422, "invalid_request")
    assert body["errors"][0]["loc"] == [loc]
