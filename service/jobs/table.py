"""The table of imports, and the mapping between its rows and jobs. `migrations` has its history.

Text from files is stored as JSON in ASCII, because a database may not accept every character.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from service.database.columns import UtcDateTime
from service.database.database import Schema
from service.errors import JobsUnavailable
from service.jobs.job import Job, LineError, Plan

MAX_TEXT = 2000
IMPORTS = Schema(
    "imports",
    Path(__file__).parent / "migrations" / "versions",
    "cascade_jobs_version",
    JobsUnavailable,
)

imports = sa.Table(
    "imports",
    sa.MetaData(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("node", sa.String(32)),  # the disk with the upload
    sa.Column("status", sa.String(16)),
    sa.Column("plan", sa.Text),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("bytes_read", sa.BigInteger),
    sa.Column("after_lines", sa.BigInteger),  # this and the next two: the checkpoint
    sa.Column("after_offset", sa.BigInteger),
    sa.Column("after_items", sa.BigInteger),
    sa.Column("written", sa.BigInteger),
    sa.Column("created", sa.BigInteger),  # this and the next two: of the written ones
    sa.Column("replaced", sa.BigInteger),
    sa.Column("unchanged", sa.BigInteger),
    sa.Column("failed", sa.BigInteger),
    sa.Column("retries", sa.BigInteger),
    sa.Column("errors", sa.Text),
    sa.Column("notes", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Column("rate", sa.Double),
    sa.Column("eta_s", sa.Double),
    sa.Column("revision", sa.BigInteger),
    sa.Column("to_cancel", sa.Boolean),  # a client has canceled it; the process that runs it polls
    sa.Column("created_at", UtcDateTime),
    sa.Column("started_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("owner", sa.String(64)),
    sa.Column("seen_at", UtcDateTime),  # when its node was last alive
)


def job_of(row: sa.RowMapping) -> Job:
    """The job of a row. A newer version may have written a plan with more members."""
    values = {name: row[name] for name in Job.__dataclass_fields__}
    plan = json.loads(row["plan"])
    known = plan.keys() & Plan.__dataclass_fields__.keys()
    values["plan"] = Plan(**{name: plan[name] for name in known})
    values["errors"] = tuple(LineError(*each) for each in json.loads(row["errors"]))
    values["notes"] = tuple(json.loads(row["notes"]))
    return Job(**values)


def row_of(job: Job, node: str) -> dict[str, Any]:
    """The row of a new job."""
    return {
        **{name: getattr(job, name) for name in Job.__dataclass_fields__},
        "plan": json.dumps(asdict(job.plan)),
        "errors": json.dumps(job.errors),
        "notes": json.dumps(job.notes),
        "node": node,
        "after_lines": 0,
        "after_offset": 0,
        "after_items": 0,
        "to_cancel": False,
        "seen_at": job.created_at,
    }


def clean(sentence: str | None) -> str | None:
    """A text that every database accepts, cut to MAX_TEXT characters."""
    if sentence is None:
        return None
    return sentence[:MAX_TEXT].replace("\0", "\ufffd").encode(errors="replace").decode()
