"""The file of the audit log: its mode, rotation, full disks."""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.audit import AuditLog
from service.errors import StartupFailed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def audit(path: Path) -> Iterator[AuditLog]:
    log = AuditLog(str(path), secrets=["s3cret-value"])
    log.open()
    yield log
    log.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_audit_file_has_json_lines_that_only_the_owner_can_read(
    audit: AuditLog, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audit.record("records.delete", "success", namespace="books", deleted=3, code=None)
    (line,) = lines(path)
    assert line["action"] == "records.delete"
    assert (line["outcome"], line["namespace"], line["deleted"]) == ("success", "books", 3)
    assert "code" not in line
    assert path.stat().st_mode & 0o777 == 0o600
    assert caplog.records == []


def test_audit_record_is_one_line_without_secrets(audit: AuditLog, path: Path) -> None:
    audit.record("keys.create", "success", name="a\nb\x1b[2J", message="x", token="s3cret-value")
    (line,) = lines(path)
    assert (line["name_"], line["message_"]) == ("a\\nb\\x1b[2J", "x")
    assert "s3cret-value" not in path.read_text()


@pytest.mark.parametrize("forged", ["x outcome=success key_id=admin", 'x" outcome="success', "a=b"])
def test_audit_text_has_no_field_that_a_value_has_forged(
    forged: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "service.audit"):
        AuditLog().record("imports.cancel", "failed", import_id=forged)
    _, _, *fields = shlex.split(caplog.messages[0])
    assert fields == ["outcome=failed", f"import_id={forged}"]


def test_audit_file_is_appended_to_and_made_again_after_it_was_moved(
    audit: AuditLog, path: Path
) -> None:
    audit.record("a", "success")
    rotated = path.rename(path.with_suffix(".1"))
    audit.record("b", "success")
    path.unlink()
    audit.record("c", "success")
    other = AuditLog(str(path))
    other.open()
    other.record("d", "success")
    other.close()
    assert [line["action"] for line in lines(rotated)] == ["a"]
    assert [line["action"] for line in lines(path)] == ["c", "d"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_audit_record_goes_to_the_log_while_the_disk_is_full(
    caplog: pytest.LogCaptureFixture,
) -> None:
    audit = AuditLog("/dev/full")
    audit.open()
    audit.record("records.delete", "success", deleted=3)
    audit.close()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "AUDIT_LOG can't be written (No space left on device)" in record.getMessage()
    assert "action=records.delete" in record.getMessage()
    assert vars(record)["deleted"] == 3


def test_audit_record_goes_to_the_log_while_its_folder_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    audit = AuditLog(str(folder / "audit.log"))
    audit.open()
    folder.rename(tmp_path / "moved")
    audit.record("a", "success")
    folder.mkdir()
    audit.record("b", "success")
    audit.close()
    assert [vars(each)["action"] for each in caplog.records] == ["a"]
    assert [line["action"] for line in lines(folder / "audit.log")] == ["b"]


SMALL_FILES = """
import resource, sys
from service.audit import AuditLog
audit = AuditLog(sys.argv[1])
audit.open()
audit.record("a", "success")
resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
audit.record("b", "success")  # only a part of it fits
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
audit.record("c", "success")
"""


def test_audit_line_after_one_that_was_cut_is_on_a_line_of_its_own(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SMALL_FILES, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "action=b" in done.stderr
    first, _cut, last = path.read_text().splitlines()
    assert (json.loads(first)["action"], json.loads(last)["action"]) == ("a", "c")


def test_audit_log_that_cannot_be_opened_is_a_startup_error(tmp_path: Path) -> None:
    with pytest.raises(StartupFailed, match=r"AUDIT_LOG: can't open .* Is a directory"):
        AuditLog(str(tmp_path)).open()
