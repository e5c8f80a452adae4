"""What goes in and out of /api/records, as types: they validate, and they are the documentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, model_validator

from service.indexes.filters import check_filter
from service.indexes.writes import MAX_ID, MAX_PAGE, Selection, is_id
from service.settings import check_namespace

MAX_RECORDS = 10_000
NAMESPACE = "The records' namespace; PINECONE_NAMESPACE if empty or not given."
WAIT = "`visible`: answer when searches see the change. Embedded engine only."


def _namespace(value: str) -> str:
    return check_namespace(value) if value else value


def check_id(value: str) -> str:
    """One id, with the sentence that says what an id is."""
    if not is_id(value):
        raise ValueError(f"an id has 1 to {MAX_ID} ASCII characters, none of them NUL")
    return value


def _prefix(value: str) -> str:
    if value and not is_id(value):
        raise ValueError(f"a prefix has up to {MAX_ID} ASCII characters, none of them NUL")
    return value


def _filter(value: dict[str, Any]) -> dict[str, Any]:
    if not value:
        raise ValueError('an empty filter selects nothing; to delete everything, say {"all": true}')
    check_filter(value)
    return value


def _true(value: bool) -> bool:
    if not value:
        raise ValueError("is true, or is not given")
    return value


class Parameters(BaseModel):
    """Where: the same for all."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    namespace: Annotated[str, AfterValidator(_namespace)] | None = Field(
        None, max_length=MAX_ID, description=NAMESPACE
    )


class ReadParameters(Parameters):
    """Where a record is."""


class WriteParameters(Parameters):
    """Where to write, and when to answer."""

    wait: Literal["visible"] | None = Field(None, description=WAIT)


class ListParameters(Parameters):
    """Which ids, and how many of them."""

    prefix: Annotated[str, AfterValidator(_prefix)] | None = Field(
        None, description="Only ids that begin so."
    )
    limit: int | None = Field(None, ge=1, le=MAX_PAGE, description="How many; 100 without.")
    cursor: str | None = Field(
        None, min_length=1, max_length=4096, description="`cursor` of the page before."
    )


class Record(BaseModel):
    """A record: `_id`, its text, and any other fields beside them."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(
        alias="_id", description="1 to 512 ASCII characters. `id` will do, too.", examples=["tea-1"]
    )
    chunk_text: str = Field(
        examples=["Green tea tastes best a little below boiling."],
        description="What is searched; called as PINECONE_TEXT_FIELD says. Other fields are "
        "texts, numbers, true, false or lists of texts.",
    )


class RecordsBody(RootModel[list[Record]]):
    """Records to write: an array of them. One object alone will do, or NDJSON, a record a line."""


class FailedRecord(BaseModel):
    """A record that was not written."""

    index: int = Field(description="Its place in the request, from 0; of NDJSON, its line.")
    id: str | None = Field(alias="_id", description="Its id, where it has one.")
    code: str = Field(description="A stable name, as in an error.")
    detail: str = Field(description="What is wrong with it, or who refused it.")


class WrittenAnswer(BaseModel):
    """How many records every index took, and those that it did not."""

    written: int
    failed: list[FailedRecord]


class ListAnswer(BaseModel):
    """A page of ids, in order."""

    ids: list[str]
    cursor: str | None = Field(description="Where the next page begins; null on the last one.")


class DeleteRequest(BaseModel):
    """Which records to delete: exactly one of the three."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    ids: list[Annotated[str, AfterValidator(check_id)]] | None = Field(
        None, min_length=1, max_length=MAX_RECORDS
    )
    filter: Annotated[dict[str, Any], AfterValidator(_filter)] | None = Field(
        None, description="A condition in Pinecone's filter language."
    )
    all: Annotated[bool, AfterValidator(_true)] | None = Field(
        None, description="True: every record of the namespace."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> DeleteRequest:
        if [self.ids, self.filter, self.all].count(None) != 2:  # noqa: PLR2004 - of three
            raise ValueError("Say which records to delete by exactly one of ids, filter or all")
        return self

    def to_selection(self) -> Selection:
        ids = tuple(dict.fromkeys(self.ids)) if self.ids else None
        return Selection(ids, self.filter, bool(self.all))


class DeletedAnswer(BaseModel):
    """What is known of a deletion."""

    deleted: int | None = Field(description="How many records, where the backend says it.")


class NamespaceStats(BaseModel):
    records: int


class IndexStats(BaseModel):
    """One index."""

    records: int
    dimension: int | None
    metric: str | None
    namespaces: dict[str, NamespaceStats]


class StatsAnswer(BaseModel):
    """How much is in each index. Pinecone counts with a delay."""

    backend: Literal["pinecone", "embedded"]
    indexes: dict[str, IndexStats]
