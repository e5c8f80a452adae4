"""What an import is: what was asked for, and how far it has come. Knows no database."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Format = Literal["ndjson", "csv", "tsv"]
OnError = Literal["skip", "stop"]

MAX_ERRORS = 100  # that a job tells; the others are counted
ENDED: tuple[Status, ...] = ("succeeded", "failed", "cancelled")
UNENDED: tuple[Status, ...] = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for."""

    namespace: str
    name: str | None
    format: Format
    on_error: OnError = "skip"
    text_field: str | None = None  # the column that becomes the text
    id_column: str | None = None
    flatten: bool = False
    delimiter: str | None = None
    strings: bool = False


class LineError(NamedTuple):
    """What could not be written: the line on which it begins, and why."""

    line: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Job:
    """One moment of an import.

    `written`, `failed` and `errors` are of everything up to one place in the file, so they add up
    however often the work was interrupted. `rate` is in records a second: lately, or, at the end,
    on the whole.
    """

    id: str
    plan: Plan
    status: Status
    bytes: int
    bytes_read: int
    written: int
    failed: int
    retries: int
    errors: tuple[LineError, ...]
    detail: str | None
    revision: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    rate: float
    eta_s: float | None

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def progress(self) -> float | None:
        """From 0 to 1, as far as it can be known."""
        if self.status == "succeeded":
            return 1.0
        return min(self.bytes_read / self.bytes, 1.0) if self.bytes else None


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first, and the cursor of those that follow."""

    jobs: list[Job]
    cursor: str | None


def new_id() -> str:
    """An id that nobody guesses, and that sorts by the time at which it was made."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def is_id(value: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{32}", value) is not None


def now() -> datetime:
    return datetime.now(UTC)
