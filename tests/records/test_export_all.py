"""Exports of all namespaces, and their import."""

from __future__ import annotations

import json

import httpx

from tests.records.test_api import check_error, make_records
from tests.records.test_counts import embedded  # noqa: F401 - a fixture
from tests.web.imports.test_imports import wait_until_ended

NDJSON = {"Content-Type": "application/x-ndjson"}


async def lines(client: httpx.AsyncClient, query: str) -> list[dict[str, object]]:
    answer = await client.get(f"/api/export?{query}")
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def fill(client: httpx.AsyncClient) -> None:
    """The ids are the same in both namespaces, the texts are not."""
    for namespace in ("left", "right"):
        records = [each | {"chunk_text": namespace} for each in make_records(250)]
        await client.post(f"/api/records?namespace={namespace}&wait=visible", json=records)


async def test_export_of_all_namespaces_names_each(embedded: httpx.AsyncClient) -> None:  # noqa: F811
    await fill(embedded)
    found = await lines(embedded, "namespace=*")
    assert len(found) == 500
    assert all(each["_namespace"] == each["chunk_text"] for each in found)
    some = await lines(embedded, "namespace=*&fields=chunk_text")
    assert [each.keys() for each in some] == [{"_id", "_namespace", "chunk_text"}] * 500
    assert "_namespace" not in (await lines(embedded, "namespace=left"))[0]


async def test_import_of_all_namespaces_restores_them(embedded: httpx.AsyncClient) -> None:  # noqa: F811
    await fill(embedded)
    everything = (await embedded.get("/api/export?namespace=*")).text
    before = await lines(embedded, "namespace=*")
    for namespace in ("left", "right"):
        await embedded.request(
            "DELETE", f"/api/records?namespace={namespace}&wait=visible", json={"all": True}
        )
    assert await lines(embedded, "namespace=*") == []
    sent = await embedded.post("/api/imports", content=everything, headers=NDJSON)
    job = await wait_until_ended(embedded, sent.json())
    assert (job["status"], job["created"], job["failed"]) == ("succeeded", 500, 0)
    assert await lines(embedded, "namespace=*") == before


async def test_import_reports_a_line_with_an_invalid_namespace(
    embedded: httpx.AsyncClient,  # noqa: F811
) -> None:
    content = "\n".join(
        json.dumps({"_id": str(value), "chunk_text": "x", "_namespace": value})
        for value in ("a/b", 7, "ok")
    )
    sent = await embedded.post("/api/imports", content=content, headers=NDJSON)
    job = await wait_until_ended(embedded, sent.json())
    assert (job["written"], [each["line"] for each in job["errors"]]) == (1, [1, 2])
    assert "_namespace: a namespace has 1 to 512 characters" in job["errors"][0]["detail"]


async def test_export_of_all_namespaces_is_ndjson(embedded: httpx.AsyncClient) -> None:  # noqa: F811
    body = check_error(
        await embedded.get("/api/export?namespace=*&format=csv"), 422, "invalid_request"
    )
    assert "must be ndjson to export all namespaces" in body["detail"]
