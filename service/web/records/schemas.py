"""The schemas of /api/records, /api/stats and /api/namespaces: they validate, and they document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, model_validator

from service.indexes.filters import check_filter
from service.indexes.limits import MAX_ID_LENGTH, MAX_PAGE, is_valid_id
from service.indexes.records import Selection
from service.web.errors import ErrorCode
from service.web.parameters import NamespaceParameters
from service.web.responses import WrittenRecords
from service.web.validation import StrictModel

MAX_RECORDS = 10_000
MAX_CURSOR_LENGTH = 4096


def check_id(value: str) -> str:
    if not is_valid_id(value):
        raise ValueError(f"must have 1 to {MAX_ID_LENGTH} ASCII characters, without NUL")
    return value


def _check_prefix(value: str) -> str:
    if value and not is_valid_id(value):
        raise ValueError(f"must have up to {MAX_ID_LENGTH} ASCII characters, without NUL")
    return value


def _check_delete_filter(value: dict[str, Any]) -> dict[str, Any]:
    if not value:
        raise ValueError('must not be empty; send {"all": true} to delete all records')
    check_filter(value)
    return value


def _check_true(value: bool) -> bool:
    if not value:
        raise ValueError("must be true or left out")
    return value


class WriteParameters(NamespaceParameters):
    wait: Literal["visible"] | None = Field(
        None,
        description="`visible`: respond when searches see the change. Embedded engine only.",
    )


class ListParameters(NamespaceParameters):
    prefix: Annotated[str, AfterValidator(_check_prefix)] | None = Field(
        None, description="Return only ids that start with this prefix."
    )
    limit: int | None = Field(
        None, ge=1, le=MAX_PAGE, description="The maximum number of ids. Defaults to 100."
    )
    cursor: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_CURSOR_LENGTH,
        description="The `cursor` of the previous page.",
    )


class StoredRecord(BaseModel):
    """A record as it is read. Has its other fields, too."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(alias="_id", description="The id of the record.")
    chunk_text: str | None = Field(
        None,
        description="The text. Absent if it was not asked for, if the key does not allow it, or if "
        "`PINECONE_TEXT_FIELD` gives it another name.",
    )


class NewRecord(BaseModel):
    """A record: an id, a text, and any other fields."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(
        alias="_id",
        min_length=1,
        max_length=MAX_ID_LENGTH,
        description="1 to 512 ASCII characters. `id` is accepted in place of `_id`.",
        examples=["tea-1"],
    )
    chunk_text: str = Field(
        examples=["Green tea tastes best a little below boiling."],
        description="The text to search. `PINECONE_TEXT_FIELD` sets the name of this field. Other "
        "fields are strings, numbers, booleans or lists of strings.",
    )


class RecordsBody(RootModel[list[NewRecord]]):
    """The records to write: an array, a single object, or NDJSON with one record per line."""


class FailedRecord(BaseModel):
    """A record that was not written."""

    index: int = Field(description="The position in the request, from 0; with NDJSON, of the line.")
    id: str | None = Field(alias="_id", description="The id of the record, if it has one.")
    code: ErrorCode
    detail: str = Field(description="A human-readable explanation of the error.")


class UpsertResponse(WrittenRecords):
    """The number of records that every index has written, and the records that failed."""

    failed: list[FailedRecord]


class RecordIds(BaseModel):
    """A page of ids, in order."""

    ids: list[str]
    cursor: str | None = Field(description="The cursor of the next page; null on the last page.")


class DeleteRequest(StrictModel):
    """The records to delete, by exactly one of the fields."""

    ids: list[Annotated[str, AfterValidator(check_id)]] | None = Field(
        None, min_length=1, max_length=MAX_RECORDS, description="Delete the records with these ids."
    )
    filter: Annotated[dict[str, Any], AfterValidator(_check_delete_filter)] | None = Field(
        None,
        description="Delete the records that match this condition, in Pinecone's filter language.",
    )
    all: Annotated[bool, AfterValidator(_check_true)] | None = Field(
        None, description="Delete every record of the namespace."
    )

    @model_validator(mode="after")
    def _check_exactly_one(self) -> DeleteRequest:
        if [self.ids, self.filter, self.all].count(None) != 2:  # noqa: PLR2004 - of three
            raise ValueError("Send exactly one of ids, filter and all")
        return self

    def to_selection(self) -> Selection:
        ids = tuple(dict.fromkeys(self.ids)) if self.ids else None
        return Selection(ids, self.filter, bool(self.all))


class DeleteResponse(BaseModel):
    deleted: int | None = Field(
        description="The number of deleted records; null if the backend does not report it."
    )


class NamespaceStats(BaseModel):
    records: int


class Namespaces(BaseModel):
    """The namespaces and their sizes. The numbers of Pinecone are eventually consistent."""

    namespaces: dict[str, NamespaceStats]


class IndexStats(BaseModel):
    """The size of one index."""

    records: int
    dimension: int | None
    metric: str | None
    namespaces: dict[str, NamespaceStats]


class StatsResponse(BaseModel):
    """The size of each index. The numbers of Pinecone are eventually consistent."""

    backend: Literal["pinecone", "embedded"]
    indexes: dict[str, IndexStats]
