"""What goes in and out of /api/imports, as types: they validate, and they are the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel

from service.ingest.delimited import is_delimiter
from service.jobs.job import Format, Job, OnError, Status
from service.web.records.schemas import NAMESPACE, Parameters
from service.web.responses import MEDIA_TYPE

MAX_NAME = 255
MAX_COLUMN = 512
MAX_LISTED = 100


def _name(value: str) -> str:
    if not value.isprintable():
        raise ValueError("has to be printable")
    return value


def _delimiter(value: str) -> str:
    value = "\t" if value == "tab" else value
    if not is_delimiter(value):
        raise ValueError("must be one character, or tab")
    return value


class ImportParameters(Parameters):
    """What is uploaded, and how it is to be read."""

    format: Format | None = Field(
        None, description="Without: as the Content-Type, or the file's name, says."
    )
    on_error: OnError = Field(
        "skip", description="Leave out what can't be written and go on, or stop there."
    )
    text_field: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_COLUMN,
        description="The field that has the text; PINECONE_TEXT_FIELD without.",
    )
    id_column: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_COLUMN,
        description="The field that has the id; `_id` or `id` without. A record that has none gets "
        "an id made from what it says.",
    )
    flatten: bool = Field(False, description='{"a": {"b": 1}} becomes a field a.b.')
    delimiter: Annotated[str, AfterValidator(_delimiter)] | None = Field(
        None, description="Of CSV: one character, or `tab`."
    )
    strings: bool = Field(False, description="Every cell of a CSV is a text.")
    name: Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_name)] | None = Field(
        None, description="What the import is called; without, as the file."
    )


class ImportBody(RootModel[bytes]):
    """NDJSON, CSV or TSV, packed with gzip or not, or a form with one such file."""

    media_types: ClassVar[Sequence[str]] = (
        "application/x-ndjson",
        "text/csv",
        "text/tab-separated-values",
        "application/gzip",
        "multipart/form-data",
    )


class ListImports(BaseModel):
    """Which imports, and how many of them."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    limit: int | None = Field(None, ge=1, le=MAX_LISTED, description="How many; 20 without.")
    cursor: str | None = Field(None, description="`cursor` of the page before.")
    status: Status | None = Field(None, description="Only those that are in this state.")


class LineFault(BaseModel):
    """Something that could not be written."""

    line: int | None = Field(description="The line on which it begins, from 1.")
    detail: str = Field(description="Why.")


class ImportJob(BaseModel):
    """An import, at one moment."""

    id: str
    status: Status
    namespace: str = Field(description=NAMESPACE)
    name: str | None
    format: Format
    on_error: OnError
    bytes: int = Field(description="How large the upload is, as it came.")
    bytes_read: int = Field(description="How much of it has been dealt with.")
    progress: float | None = Field(description="From 0 to 1.")
    written: int = Field(description="Records that every index took.")
    failed: int = Field(description="Records, or lines, that could not be written.")
    retries: int = Field(description="Batches that were sent again.")
    rate: float = Field(description="Records a second: lately, or, at the end, on the whole.")
    eta_s: float | None = Field(description="Seconds that are left, as far as can be seen.")
    errors: list[LineFault] = Field(description="The first 100; `failed` counts all of them.")
    detail: str | None = Field(description="Why it failed, if it did.")
    revision: int = Field(description="Grows with each change; the id of its event.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ImportEvents(ImportJob):
    """Events named `progress` and `done`; what is described here is an event's `data`."""

    media_type: ClassVar[str] = MEDIA_TYPE


class EndKnown(BaseModel):
    """To a `Last-Event-ID` that is the one of `done`: nothing more comes."""


class ImportList(BaseModel):
    """Some imports, newest first."""

    imports: list[ImportJob]
    cursor: str | None = Field(description="Where the next page begins; null on the last one.")


def job_body(job: Job) -> dict[str, Any]:
    """A job as its JSON."""
    plan = job.plan
    return {
        "id": job.id,
        "status": job.status,
        "namespace": plan.namespace,
        "name": plan.name,
        "format": plan.format,
        "on_error": plan.on_error,
        "bytes": job.bytes,
        "bytes_read": job.bytes_read,
        "progress": None if job.progress is None else round(job.progress, 4),
        "written": job.written,
        "failed": job.failed,
        "retries": job.retries,
        "rate": round(job.rate, 1),
        "eta_s": None if job.eta_s is None else round(job.eta_s, 1),
        "errors": [{"line": each.line, "detail": each.detail} for each in job.errors],
        "detail": job.detail,
        "revision": job.revision,
        "created_at": _time(job.created_at),
        "started_at": _time(job.started_at),
        "finished_at": _time(job.finished_at),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
