"""Each table as people have it is loaded right or refused, by `load` and by /api/imports alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.settings import load_settings
from tests.conftest import Command, open_client
from tests.fake_service import fake_service
from tests.web.imports.test_imports import wait_until_ended
from tests.wild_files import WILD_FILES, WildFile

DOCS = Path(__file__).parent.parent / "docs" / "files.md"
every_file = pytest.mark.parametrize("file", WILD_FILES, ids=lambda file: file.title)


def without_ids(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {record.pop("_id"): record for record in records}


def assert_said(sentences: list[str], parts: list[str]) -> None:
    """Each sentence has its part, in order, and there is no other."""
    assert len(sentences) == len(parts), sentences
    for sentence, part in zip(sentences, parts, strict=True):
        assert part in sentence


@every_file
def test_load_of_wild_file(file: WildFile, command: Command, tmp_path: Path) -> None:
    path = tmp_path / file.name
    path.write_bytes(file.content)
    options = [each for name, value in file.options.items() for each in (f"--{name}", value)]
    with fake_service() as service:
        done = command("load", path, "--url", service.address, *options, DATA_DIR=tmp_path / "var")
    assert without_ids([dict(record) for record in service.records.values()]) == file.records
    assert done.returncode == (1 if file.errors else 0)
    lines = done.stderr.splitlines()
    notes = [line for line in lines if line.startswith(f"cascade: {path}: ")]
    assert_said(notes, list(file.notes))
    assert_said([line for line in lines if line not in notes], list(file.errors))


@every_file
async def test_import_of_wild_file(file: WildFile, tmp_path: Path) -> None:
    settings = load_settings(data_dir=str(tmp_path), load_samples=False)
    async with open_client(create_app(settings)) as api:
        answer = await api.post(
            "/api/imports", params={"name": file.name, **file.options}, content=file.content
        )
        if not file.content:
            assert answer.json()["detail"] == "The upload is empty; send at least one record"
            return
        job = await wait_until_ended(api, answer.json())
        export = await api.get("/api/export", params={"format": "ndjson"})
    assert without_ids([json.loads(line) for line in export.text.splitlines()]) == file.records
    assert job["status"] == ("succeeded" if file.records else "failed")
    assert job["written"] == len(file.records)
    if any("read as" in note for note in file.notes):
        assert job["bytes_read"] == len(file.content), "not the length of the same in UTF-8"
    assert_said(job["notes"], list(file.notes))
    if "have no records" in file.errors:
        assert job["detail"] == "There is no record in the file"
        return
    said = [f"line {each['line']}: {each['detail']}" for each in job["errors"]]
    assert_said(said, list(file.errors))
    assert "--" not in json.dumps([job["notes"], job["errors"]]), "options of the command"
    if not file.records:
        assert job["errors"][0]["detail"] in job["detail"]


def test_wild_files_are_documented() -> None:
    rows = [line.split("|")[1].strip() for line in DOCS.read_text().splitlines() if "|" in line]
    assert [row for row in rows if row in {file.title for file in WILD_FILES}] == [
        file.title for file in WILD_FILES
    ]
