"""`backup` and `restore`: what is refused, and that nothing is half-made."""

from __future__ import annotations

import json
import random
import zipfile
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


@pytest.fixture
def backup(command: Command, loaded: Path, tmp_path: Path) -> Path:
    """A backup of it."""
    done = command("backup", tmp_path / "b.backup", DATA_DIR=loaded)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("backed up 2 records (")
    return tmp_path / "b.backup"


def test_restored_records_are_found(command: Command, backup: Path, tmp_path: Path) -> None:
    done = command("restore", backup, "--data-dir", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("restored 2 records of ")
    assert "note" not in done.stdout
    found = command("search", "E18", "--json", DATA_DIR=tmp_path / "new")
    assert json.loads(found.stdout)["results"][0]["_id"] == "e18"


def test_backup_reads_a_directory_that_a_process_owns(
    command: Command, loaded: Path, tmp_path: Path
) -> None:
    with owned(loaded):
        done = command("backup", tmp_path / "b.backup", DATA_DIR=loaded)
    assert done.returncode == 0, done.stderr


def test_backup_replaces_a_file_only_with_force(
    command: Command, loaded: Path, backup: Path
) -> None:
    before = backup.read_bytes()
    refused = command("backup", backup, DATA_DIR=loaded)
    assert refused.returncode == 1
    assert "exists; give another name, or --force to replace it" in refused.stderr
    assert backup.read_bytes() == before
    assert command("backup", backup, "--force", DATA_DIR=loaded).returncode == 0
    assert [each.name for each in backup.parent.glob("*.unfinished")] == []


@pytest.mark.parametrize("name", ["missing/b.backup", ""])
def test_backup_to_an_impossible_place_is_one_line(
    command: Command, loaded: Path, tmp_path: Path, name: str
) -> None:
    done = command("backup", tmp_path / name, "--force", DATA_DIR=loaded)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_backup_of_nothing_is_refused(command: Command, tmp_path: Path) -> None:
    done = command("backup", tmp_path / "b.backup", DATA_DIR=tmp_path / "new")
    assert done.returncode == 1
    assert "nothing to back up" in done.stderr
    assert not (tmp_path / "new").exists()


def test_backup_of_a_damaged_database_is_refused(
    command: Command, loaded: Path, tmp_path: Path
) -> None:
    for file in (loaded / "records").glob("records.db*"):
        file.write_bytes(b"this was a database once " * 1000)
    done = command("backup", tmp_path / "b.backup", DATA_DIR=loaded)
    assert done.returncode == 1
    assert "can't be copied" in done.stderr
    assert not (tmp_path / "b.backup").exists()


def test_restore_refuses_a_directory_that_is_not_empty(
    command: Command, loaded: Path, backup: Path
) -> None:
    done = command("restore", backup, DATA_DIR=loaded)
    assert done.returncode == 1
    assert "is not empty, it has records; give another DATA_DIR" in done.stderr.replace(
        "loads, records", "records"
    )


def test_restore_refuses_every_truncated_file(
    command: Command, backup: Path, tmp_path: Path
) -> None:
    data = backup.read_bytes()
    for length in (0, 1, 100, len(data) // 2, len(data) - 1):
        backup.write_bytes(data[:length])
        _is_refused(command, backup, tmp_path / "new")


def test_restore_refuses_damaged_records_and_manifests(
    command: Command, backup: Path, tmp_path: Path
) -> None:
    data = backup.read_bytes()
    rng = random.Random(3)
    with zipfile.ZipFile(backup) as archive:
        records = archive.getinfo("records.db")
        end = records.header_offset + 40 + records.file_size
        places = [rng.randrange(records.header_offset + 60, end) for _ in range(6)]
        places += [rng.randrange(60, records.header_offset) for _ in range(6)]
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        backup.write_bytes(damaged)
        _is_refused(command, backup, tmp_path / "new")


def test_restore_refuses_another_archive(command: Command, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("holiday.txt", "not a backup")
    _is_refused(command, other, tmp_path / "new")


def test_restore_names_the_version_of_another_format(
    command: Command, backup: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(backup) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        records = archive.read("records.db")
    with zipfile.ZipFile(backup, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest | {"format": 2, "version": "9.9"}))
        archive.writestr("records.db", records)
    done = command("restore", backup, DATA_DIR=tmp_path / "new")
    assert done.returncode == 1
    assert "was made by Cascade 9.9" in done.stderr


def test_restore_removes_what_a_killed_restore_left(
    command: Command, backup: Path, tmp_path: Path
) -> None:
    left = tmp_path / "new" / "records.unfinished"
    left.mkdir(parents=True)
    (left / "records.db").write_bytes(b"half of it")
    assert command("restore", backup, DATA_DIR=tmp_path / "new").returncode == 0
    assert not left.exists()


def test_restore_notes_other_settings(command: Command, backup: Path, tmp_path: Path) -> None:
    done = command("restore", backup, DATA_DIR=tmp_path / "new", TEXT_LANGUAGE="de")
    assert done.returncode == 0
    assert "note: it was made with the schema" in done.stdout


@pytest.mark.parametrize("name", ["backup", "restore"])
def test_pinecone_has_other_ways(
    command: Command, upstream: Upstream, tmp_path: Path, name: str
) -> None:
    done = command(
        name,
        tmp_path / "b.backup",
        PINECONE_API_KEY=API_KEY,
        PINECONE_DENSE_INDEX_HOST=upstream.host("dense"),
        PINECONE_SPARSE_INDEX_HOST=upstream.host("sparse"),
    )
    assert done.returncode == 1
    assert "use /api/export for the records, or Pinecone's own backups" in done.stderr


def _is_refused(command: Command, file: Path, data_dir: Path) -> None:
    done = command("restore", file, DATA_DIR=data_dir)
    assert done.returncode == 1
    assert "is not a complete backup of Cascade" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(data_dir.glob("records*"))
