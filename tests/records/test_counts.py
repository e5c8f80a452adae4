"""The embedded engine says which records are new, replaced another, or were there already."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import load_settings
from tests.conftest import Command, open_client
from tests.web.imports.test_imports import wait_until_ended

RECORDS = [{"_id": f"r{n}", "chunk_text": f"text {n}", "year": 2000 + n} for n in range(5)]


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings(data_dir=str(tmp_path), load_samples=False, cache_ttl=0)
    async with open_client(create_app(settings)) as client:
        yield client


async def counts(client: httpx.AsyncClient, records: Any) -> tuple[int, int, int]:
    body = (await client.post("/api/records?wait=visible", json=records)).json()
    assert body["written"] == sum(body[name] for name in ("created", "replaced", "unchanged"))
    return body["created"], body["replaced"], body["unchanged"]


async def test_upsert_counts_new_replaced_and_unchanged(embedded: httpx.AsyncClient) -> None:
    assert await counts(embedded, RECORDS[:3]) == (3, 0, 0)
    changed = RECORDS[1] | {"year": 1900}
    assert await counts(embedded, [RECORDS[0], changed, RECORDS[3]]) == (1, 1, 1)
    assert await counts(embedded, [RECORDS[0], changed, RECORDS[3]]) == (0, 0, 3)
    assert (await embedded.get("/api/records/r1")).json() == changed
    found = await embedded.get("/api/lexical-search", params={"text_query": "text", "top_k": 10})
    assert {each["_id"] for each in found.json()["results"]} == {"r0", "r1", "r2", "r3"}


async def test_counts_leave_out_failed_records(embedded: httpx.AsyncClient) -> None:
    assert await counts(embedded, [*RECORDS, {"_id": "no text"}]) == (5, 0, 0)


async def test_deleted_record_is_new_again(embedded: httpx.AsyncClient) -> None:
    await counts(embedded, RECORDS)
    await embedded.delete("/api/records/r2")
    assert await counts(embedded, RECORDS) == (1, 0, 4)


async def test_same_id_in_another_namespace_is_new(embedded: httpx.AsyncClient) -> None:
    await counts(embedded, RECORDS)
    body = (await embedded.post("/api/records?namespace=other", json=RECORDS)).json()
    assert body["created"] == 5


async def test_import_counts_new_replaced_and_unchanged(embedded: httpx.AsyncClient) -> None:
    await counts(embedded, [RECORDS[0], RECORDS[1] | {"year": 1900}])
    lines = "".join(f"{record}\n" for record in RECORDS).replace("'", '"')
    sent = await embedded.post(
        "/api/imports", content=lines, headers={"Content-Type": "application/x-ndjson"}
    )
    job = await wait_until_ended(embedded, sent.json())
    divided = (job["created"], job["replaced"], job["unchanged"])
    assert (job["status"], job["written"], divided) == ("succeeded", 5, (3, 1, 1))


def test_load_says_what_it_replaced(command: Command, tmp_path: Path) -> None:
    for folder, text in (("p1", "One"), ("p2", "Two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.jsonl").write_text(f'{{"_id": "a", "chunk_text": "{text}"}}\n')
    data = {"DATA_DIR": tmp_path / "var"}
    assert ": 1 new, 0 replaced, 0 unchanged" in command("load", "p1/same.jsonl", **data).stdout
    assert ": 0 new, 0 replaced, 1 unchanged" in command("load", "p1/same.jsonl", **data).stdout
    assert ": 0 new, 1 replaced, 0 unchanged" in command("load", "p2/same.jsonl", **data).stdout
