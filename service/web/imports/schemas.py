"""The schemas of /api/imports: they validate, and they document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, Field

from service.indexes.records import WriteCounts
from service.ingest.formats.delimited import is_delimiter
from service.ingest.formats.encoding import is_encoding
from service.ingest.text_source import parse_template
from service.jobs.job import Format, Job, OnError, Status
from service.web.parameters import NAMESPACE, NamespaceParameters
from service.web.responses import EVENT_STREAM, WrittenRecords, written_records
from service.web.validation import StrictModel, invalid_field

MAX_NAME_LENGTH = 255
MAX_COLUMN_LENGTH = 512
MAX_ENCODING_LENGTH = 40
MAX_TEXT_FIELD_LENGTH = 2048
MAX_TEMPLATE_LENGTH = 4096
MAX_PAGE = 100
BINARY = {"type": "string", "format": "binary"}


def _check_name(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must have printable characters only")
    return value


def _check_delimiter(value: str) -> str:
    value = "\t" if value == "tab" else value
    if not is_delimiter(value):
        raise ValueError("must be one character, or `tab`")
    return value


def _check_encoding(value: str) -> str:
    if not is_encoding(value):
        raise ValueError("is not known; `utf-8`, `utf-16`, `windows-1252` or `shift_jis` are")
    return value


def _check_template(value: str) -> str:
    parse_template(value)
    return value


class ImportParameters(NamespaceParameters):
    format: Format | None = Field(
        None, description="The format. Defaults to that of the Content-Type or of the file name."
    )
    on_error: OnError = Field(
        "skip", description="Whether to skip invalid records, or to stop at the first one."
    )
    text_field: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_TEXT_FIELD_LENGTH,
        description="The field with the text, or several, separated by commas: they are joined "
        "with blank lines. Defaults to `PINECONE_TEXT_FIELD`.",
    )
    text_template: (
        Annotated[
            str,
            Field(min_length=1, max_length=MAX_TEMPLATE_LENGTH),
            AfterValidator(_check_template),
        ]
        | None
    ) = Field(
        None,
        description="The text, with fields in braces: `{title}. {body}`. Not with `text_field`.",
    )
    id_field: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_COLUMN_LENGTH,
        description="The field with the id. Defaults to `_id` or `id`. A record without an id gets "
        "one that is derived from its content.",
    )
    id_column: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_COLUMN_LENGTH,
        json_schema_extra={"deprecated": True},
        description="The former name of `id_field`.",
    )
    flatten: bool = Field(
        True,
        description='Flatten nested objects: `{"a": {"b": 1}}` becomes a field `a.b`, and keep '
        "lists of anything but texts as JSON. Otherwise such records fail.",
    )
    split: bool = Field(
        False,
        description="Split each text into passages, which become records with the ids `id#0`, "
        "`id#1` and so on, and the fields `document_id` and `position`.",
    )
    delimiter: Annotated[str, AfterValidator(_check_delimiter)] | None = Field(
        None,
        description="The delimiter of a CSV file: one character, or `tab`. Defaults to the one of "
        "`,` `;` tab and `|` that is found in the file.",
    )
    encoding: (
        Annotated[str, Field(max_length=MAX_ENCODING_LENGTH), AfterValidator(_check_encoding)]
        | None
    ) = Field(
        None,
        description="The encoding, such as `windows-1252` or `utf-16`. Defaults to the charset of "
        "the Content-Type, or to what is found in the file: UTF-8, UTF-16 or Windows-1252.",
    )
    strings: bool = Field(False, description="Import every cell of a CSV file as a string.")
    name: Annotated[str, Field(max_length=MAX_NAME_LENGTH), AfterValidator(_check_name)] | None = (
        Field(None, description="A name for the import. Defaults to the name of the file.")
    )


def check_alternatives(parameters: ImportParameters) -> None:
    """Raise an error if two parameters are given that mean the same."""
    if parameters.text_field and parameters.text_template:
        raise invalid_field("text_template", "can't be given with text_field; give one of the two")
    if parameters.id_field and parameters.id_column:
        raise invalid_field("id_column", "is the former name of id_field; give one of the two")


class ImportBody(BaseModel):
    """A form with one file, or the file itself. Other media types stand for the `format`."""

    media_types: ClassVar[Mapping[str, Any]] = {
        "multipart/form-data": {
            "type": "object",
            "properties": {"file": BINARY},
            "required": ["file"],
        },
        "application/octet-stream": BINARY,
    }


class ListImportsParameters(StrictModel):
    limit: int | None = Field(
        None, ge=1, le=MAX_PAGE, description="The maximum number of imports. Defaults to 20."
    )
    cursor: str | None = Field(None, description="The `cursor` of the previous page.")
    status: Status | None = Field(None, description="Return only imports with this status.")


class LineError(BaseModel):
    """An invalid record or line."""

    line: int | None = Field(
        description="The line on which it starts, or its number in an array, from 1."
    )
    detail: str = Field(description="A human-readable explanation of the error.")


class ImportJob(WrittenRecords):
    """The state of an import."""

    id: str
    status: Status
    namespace: str = Field(description=NAMESPACE)
    name: str | None
    format: Format
    on_error: OnError
    bytes: int = Field(description="The size of the upload.")
    bytes_read: int = Field(description="How many of its bytes have been processed.")
    progress: float | None = Field(description="From 0 to 1.")
    failed: int = Field(description="The number of records and lines that failed.")
    retries: int = Field(description="The number of batches that were sent again.")
    rate: float = Field(
        description="Records per second: recently, or on average once the import has ended."
    )
    eta_s: float | None = Field(description="The estimated seconds until the end.")
    errors: list[LineError] = Field(description="The first 100 errors.")
    notes: list[str] = Field(
        description="How the file is read, where that is not certain: its encoding and delimiter, "
        "columns that were renamed, numbers with decimal commas."
    )
    detail: str | None = Field(description="Why the import failed.")
    revision: int = Field(description="Grows with every change. The id of an event.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ImportEvent(ImportJob):
    """The data of a `progress` or `done` event."""

    media_types: ClassVar[Mapping[str, Any]] = {EVENT_STREAM: None}


class ImportList(BaseModel):
    """A page of imports, newest first."""

    imports: list[ImportJob]
    cursor: str | None = Field(description="The cursor of the next page; null on the last page.")


def job_body(job: Job) -> dict[str, Any]:
    """The JSON of an `ImportJob`."""
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
        **written_records(job.written, WriteCounts(job.created, job.replaced, job.unchanged)),
        "failed": job.failed,
        "retries": job.retries,
        "rate": round(job.rate, 1),
        "eta_s": None if job.eta_s is None else round(job.eta_s, 1),
        "errors": [{"line": each.line, "detail": each.detail} for each in job.errors],
        "notes": list(job.notes),
        "detail": job.detail,
        "revision": job.revision,
        "created_at": _iso_time(job.created_at),
        "started_at": _iso_time(job.started_at),
        "finished_at": _iso_time(job.finished_at),
    }


def _iso_time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
