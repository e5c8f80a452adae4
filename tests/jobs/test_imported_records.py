"""Records of imports are counted once, over revisions, runs and jobs."""

from __future__ import annotations

from dataclasses import replace

from service.jobs.imported_records import ImportedRecords
from service.jobs.job import Job, Plan


def job(id: str, written: int, failed: int = 0) -> Job:
    plan = Plan(namespace="tea", name=None, format="ndjson")
    return replace(Job(id, plan, "running", 100), written=written, failed=failed)


def test_imported_records_adds_what_each_revision_has_more() -> None:
    imported = ImportedRecords()
    for written, failed in ((0, 0), (5, 1), (5, 1), (12, 3)):
        imported.add(job("a", written, failed))
    assert (imported.written, imported.failed) == (12, 3)
    for written in (0, 4):
        imported.add(job("b", written))
    assert (imported.written, imported.failed) == (16, 3)


def test_imported_records_leaves_out_what_earlier_runs_have_written() -> None:
    imported = ImportedRecords()
    imported.add(job("a", 1_000, 10))  # resumed from a checkpoint of another process
    imported.add(job("a", 1_007, 11))
    assert (imported.written, imported.failed) == (7, 1)
