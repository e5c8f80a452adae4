"""`Job`: the state of an import, and `Plan`: what was requested."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Format = Literal["ndjson", "csv", "tsv", "text", "markdown", "html", "pdf"]
OnError = Literal["skip", "stop"]

MAX_ERRORS = 100  # in a job; `failed` counts all
ENDED: tuple[Status, ...] = ("succeeded", "failed", "cancelled")
UNENDED: tuple[Status, ...] = ("queued", "running")
STATUSES = UNENDED + ENDED


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of an import."""

    namespace: str
    name: str | None
    format: Format
    on_error: OnError = "skip"
    text_field: str | None = None  # the column that becomes the text, or several
    text_template: str | None = None
    id_column: str | None = None
    flatten: bool = True
    split: bool = False
    delimiter: str | None = None
    strings: bool = False
    encoding: str | None = None
    only_namespace: bool = False  # a line may not name another one than `namespace`
    key_id: str = ""  # this and the next: of the key on whose quota the records count
    records_per_day: int | None = None


class LineError(NamedTuple):
    """A record that was not written: its first line, and the reason."""

    line: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Job:
    """The state of an import at one revision.

    `written`, `failed` and `errors` belong to the last checkpoint, so they are right however often
    the job was interrupted. `created`, `replaced` and `unchanged` divide `written`, or are 0 where
    the backend does not report them. `rate` is in records per second: over the last seconds while
    the job runs, and over the whole run at the end.
    """

    id: str
    plan: Plan
    status: Status
    bytes: int
    bytes_read: int = 0
    written: int = 0
    failed: int = 0
    retries: int = 0
    errors: tuple[LineError, ...] = ()
    detail: str | None = None
    revision: int = 1
    created_at: datetime = field(default_factory=now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    rate: float = 0.0
    eta_s: float | None = None
    notes: tuple[str, ...] = ()
    created: int = 0
    replaced: int = 0
    unchanged: int = 0
    owner: str = ""  # the tenant whose import it is

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def progress(self) -> float | None:
        """From 0 to 1, if the size is known."""
        if self.status == "succeeded":
            return 1.0
        return min(self.bytes_read / self.bytes, 1.0) if self.bytes else None


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of jobs, newest first. `cursor` is None on the last page."""

    jobs: list[Job]
    cursor: str | None


def new_id() -> str:
    """An id that can't be guessed, and sorts by the time of creation."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def is_id(value: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{32}", value) is not None
