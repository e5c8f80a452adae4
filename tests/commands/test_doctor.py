"""`doctor`: its findings and its repairs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from service.embedded.data_directory import owned
from tests.conftest import Command
from tests.upstream import API_KEY, Upstream

RECORDS = [
    {"_id": "wool", "chunk_text": "Woollen jumpers felt and shrink in a hot wash"},
    {"_id": "e18", "chunk_text": "Code E18: the drain pump is blocked"},
]


@pytest.fixture
def loaded(command: Command, tmp_path: Path) -> Path:
    """A data directory with two records."""
    path = tmp_path / "records.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in RECORDS))
    assert command("load", path, DATA_DIR=tmp_path / "var").returncode == 0
    return tmp_path / "var"


def finds(command: Command, data_dir: Path, question: str) -> str:
    done = command("search", question, "--json", "--top-k", "1", DATA_DIR=data_dir)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert not answer["degraded"]
    return str(answer["results"][0]["_id"])


def test_doctor_reports_an_intact_index(command: Command, loaded: Path) -> None:
    done = command("doctor", DATA_DIR=loaded)
    assert done.returncode == 0
    assert "2 records, no damage" in done.stdout
    assert "wrong" not in done.stdout


def test_doctor_accepts_an_empty_data_directory(command: Command, tmp_path: Path) -> None:
    done = command("doctor", DATA_DIR=tmp_path / "new")
    assert done.returncode == 0
    assert "no records yet" in done.stdout


def test_doctor_reports_a_damaged_database_in_one_line(command: Command, loaded: Path) -> None:
    for file in (loaded / "records").glob("records.db*"):
        file.write_bytes(b"this was a database once " * 1000)
    done = command("doctor", DATA_DIR=loaded)
    assert done.returncode == 1
    assert "restore a backup" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_doctor_notes_a_lost_view_and_the_next_search_rebuilds_it(
    command: Command, loaded: Path
) -> None:
    shutil.rmtree(loaded / "records" / "dense")
    done = command("doctor", DATA_DIR=loaded)
    assert done.returncode == 0
    assert "the dense view is missing" in done.stdout
    assert finds(command, loaded, "my sweater got too small") == "wool"


def test_doctor_rebuild_deletes_views_and_keeps_records(command: Command, loaded: Path) -> None:
    assert command("doctor", "--rebuild", DATA_DIR=loaded).returncode == 0
    assert not (loaded / "records" / "lexical").exists()
    assert finds(command, loaded, "E18") == "e18"


def test_doctor_reembed_allows_another_language(command: Command, loaded: Path) -> None:
    refused = command("search", "wash", DATA_DIR=loaded, TEXT_LANGUAGE="de")
    assert refused.returncode == 1
    assert "doctor --reembed" in refused.stderr
    result = command("doctor", DATA_DIR=loaded)
    assert result.returncode == 1
    assert "run doctor --reembed" in result.stdout
    mended = command("doctor", "--reembed", DATA_DIR=loaded)
    assert mended.returncode == 0, mended.stdout
    assert "2 records were made anew" in mended.stdout
    assert finds(command, loaded, "my sweater got too small") == "wool"


def test_doctor_names_the_process_that_owns_the_directory(command: Command, loaded: Path) -> None:
    with owned(loaded):
        done = command("doctor", DATA_DIR=loaded)
    assert done.returncode == 1
    assert "belongs to process" in done.stderr


def test_doctor_checks_pinecone_indexes(command: Command, upstream: Upstream) -> None:
    pinecone = {
        "PINECONE_API_KEY": API_KEY,
        "PINECONE_DENSE_INDEX_HOST": upstream.host("dense"),
        "PINECONE_SPARSE_INDEX_HOST": upstream.host("sparse"),
        "PINECONE_CONTROLLER_HOST": upstream.host("control"),
    }
    done = command("doctor", **pinecone)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("index at") == 2
    assert command("doctor", "--reembed", **pinecone).returncode == 1
