"""Options of an import that say how records are made of a file."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.ingest.pdf import make_pdf
from tests.web.imports.test_imports import NDJSON, api, assert_error, wait_until_ended

__all__ = ["api"]

JSON = {"Content-Type": "application/json"}
BOOK = {"key": "b1", "title": "Tea", "body": "Boil water.", "about": {"year": 2024, "in": [1, 2]}}


async def run_import(api: httpx.AsyncClient, content: bytes, **parameters: str) -> dict[str, Any]:
    answer = await api.post("/api/imports", params=parameters, content=content, headers=NDJSON)
    assert answer.status_code == 202, answer.text
    return await wait_until_ended(api, answer.json())


@pytest.mark.parametrize("id_name", ["id_field", "id_column"])
async def test_import_joins_text_fields(api: httpx.AsyncClient, id_name: str) -> None:
    job = await run_import(
        api, json.dumps(BOOK).encode(), text_field="title,body", **{id_name: "key"}
    )
    assert (job["status"], job["written"], job["errors"]) == ("succeeded", 1, [])
    assert (await api.get("/api/records/b1")).json() == {
        "_id": "b1",
        "title": "Tea",
        "body": "Boil water.",
        "about.year": 2024,
        "about.in": "[1,2]",
        "chunk_text": "Tea\n\nBoil water.",
    }


async def test_import_fills_text_template(api: httpx.AsyncClient) -> None:
    template = "{title} ({about.year}). {body}"
    await run_import(api, json.dumps(BOOK).encode(), text_template=template, id_field="key")
    record = (await api.get("/api/records/b1")).json()
    assert record["chunk_text"] == "Tea (2024). Boil water."


async def test_import_refuses_nested_values_without_flatten(api: httpx.AsyncClient) -> None:
    job = await run_import(api, json.dumps(BOOK).encode(), text_field="body", flatten="false")
    assert (
        job["errors"][0]["detail"] == "about: is an object; flatten makes fields with dotted names"
    )


async def test_import_splits_long_texts(api: httpx.AsyncClient) -> None:
    text = "\n\n".join(f"Paragraph {n} has " + "some words " * 50 for n in range(80))
    line = json.dumps({"_id": "long", "chunk_text": text, "year": 2024}).encode()
    refused = await run_import(api, line)
    assert "split splits it into passages" in refused["errors"][0]["detail"]
    job = await run_import(api, line, split="true")
    assert (job["status"], job["failed"]) == ("succeeded", 0)
    assert job["written"] > 20
    last = (await api.get(f"/api/records/long%23{job['written'] - 1}")).json()
    assert last["document_id"] == "long"
    assert last["year"] == 2024
    assert last["chunk_text"].split()[-1] == "words"


async def test_import_reads_json_arrays(api: httpx.AsyncClient) -> None:
    content = json.dumps([{"_id": "a", "chunk_text": "x"}, 7, BOOK], indent=2).encode()
    answers = [
        await api.post(
            "/api/imports", content=content, headers={"Content-Type": "application/json"}
        ),
        await api.post("/api/imports", files={"file": ("books.json", content)}),
    ]
    for answer in answers:
        job = await wait_until_ended(api, answer.json())
        assert (job["format"], job["status"], job["written"]) == ("ndjson", "succeeded", 1)
        assert [error["line"] for error in job["errors"]] == [2, 3]
        assert job["progress"] == 1.0


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.pdf", make_pdf(["On a page"]), "On a page"),
        ("a.html", b"<h1>Tea</h1><p>Boil water.", "Tea\n\nBoil water."),
        ("a.md", b"# Tea\n\nBoil water.", "Tea\n\nBoil water."),
        ("a.txt", b"Boil water.", "Boil water."),
    ],
)
async def test_import_splits_documents_into_passages(
    api: httpx.AsyncClient, name: str, content: bytes, text: str
) -> None:
    answer = await api.post("/api/imports", files={"file": (name, content)})
    job = await wait_until_ended(api, answer.json())
    assert (job["status"], job["written"], job["errors"]) == ("succeeded", 1, [])
    record = (await api.get(f"/api/records/{name}%230")).json()
    assert record["chunk_text"] == text
    assert record["source"] == name


async def test_import_of_broken_document_fails_with_the_reason(api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/imports", files={"file": ("a.pdf", b"no PDF")})
    job = await wait_until_ended(api, answer.json())
    assert job["status"] == "failed"
    assert "can't be read" in job["detail"]


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("utf-16", b'{"chunk_text": "x"}\n'),
        ("utf-32", b'{"chunk_text": "x"}\n'),
        ("utf-16", b"#\xdbe"),  # begins like a surrogate pair that goes on
    ],
)
async def test_import_without_byte_order_mark_fails_with_the_reason(
    api: httpx.AsyncClient, encoding: str, content: bytes
) -> None:
    job = await run_import(api, content, encoding=encoding)
    assert job["status"] == "failed"
    assert f"is not valid {encoding.upper()}" in job["detail"]


async def test_import_of_text_without_name_or_with_fields_is_rejected(
    api: httpx.AsyncClient,
) -> None:
    headers = {"Content-Type": "text/markdown"}
    answer = await api.post("/api/imports", content=b"x", headers=headers)
    assert_error(answer, 422, "invalid_request", "name: is required for markdown")
    url = "/api/imports?name=a.md&text_field=body"
    answer = await api.post(url, content=b"x", headers=headers)
    assert_error(answer, 422, "invalid_request", "text_field: is a field, and markdown has no")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("text_field=a&text_template={b}", "text_template: can't be given with text_field"),
        ("id_field=a&id_column=a", "id_column: is the former name of id_field"),
        ("text_template=none", "text_template: names no field"),
        ("text_template={", "text_template: "),
        ("encoding=idna", "encoding: is not known"),
        ("split=yes!", "split: must be true or false"),
    ],
)
async def test_import_rejects_invalid_options(
    api: httpx.AsyncClient, query: str, sentence: str
) -> None:
    answer = await api.post(f"/api/imports?{query}", content=b"{}", headers=NDJSON)
    assert_error(answer, 422, "invalid_request", sentence)
