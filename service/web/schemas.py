"""What goes in and out over HTTP, as types: they validate, and they are the documentation.

Strict: a number is a number, an unknown name is a mistake, and each message says what is allowed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.indexes.filters import check_filter
from service.retrieval.query import ALL_FIELDS, Query, RerankMode
from service.settings import check_namespace

MAX_TEXT = 100_000
MAX_TOP_K = 10_000
EMPTY_QUERY = "Text query cannot be empty"


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain the character NUL")
    return value


def _namespace(value: str) -> str:
    return check_namespace(value) if value else value


def _field_names(value: list[str]) -> list[str]:
    for name in value:
        if not 0 < len(name) <= 512 or "\0" in name:
            raise ValueError("each name has 1 to 512 characters")
        if name in {"_id", "_score", "score", "found_by"}:
            raise ValueError(f"{name!r} is not a field; it is in every answer")
    return value


def _checked_filter(value: dict[str, Any]) -> dict[str, Any]:
    check_filter(value)
    return value


class SearchRequest(BaseModel):
    """One search. Only `text_query` is required."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    text_query: Annotated[str, AfterValidator(_no_nul)] = Field(
        max_length=MAX_TEXT, description="What to search for, as a person would write it."
    )
    top_k: int | None = Field(
        None, ge=1, le=MAX_TOP_K, description="How many results to answer with."
    )
    namespace: Annotated[str, AfterValidator(_namespace)] | None = Field(
        None, description="Where to search; the service's own namespace if empty or not given."
    )
    filter: Annotated[dict[str, Any], AfterValidator(_checked_filter)] | None = Field(
        None, description="A condition in Pinecone's filter language, as a JSON object."
    )
    fields: Annotated[list[str], AfterValidator(_field_names)] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description='Which fields to answer with; ["*"] for all of them. Without, chunk_text.',
    )
    rerank: RerankMode | None = Field(
        None,
        description="Rerank the union of all legs once, inside each leg, or not at all. "
        "Without: `union` for cascading retrieval, `none` for the other two.",
    )
    timeout_ms: int | None = Field(None, ge=1, description="By when the answer is due.")

    def to_query(self, *, top_k: int, namespace: str, rerank: RerankMode) -> Query:
        """The query, with the given defaults where the request is silent."""
        fields = tuple(self.fields) if self.fields is not None else None
        return Query(
            text=self.text_query,
            top_k=self.top_k or top_k,
            namespace=self.namespace or namespace,
            rerank=self.rerank or rerank,
            filter=self.filter or None,
            fields=ALL_FIELDS if fields and "*" in fields else fields,
        )


class SearchParameters(BaseModel):
    """The same search as query parameters, for the documentation."""

    text_query: str = Field(description="What to search for, as a person would write it.")
    top_k: int | None = Field(None, ge=1, le=MAX_TOP_K, description="How many results.")
    namespace: str | None = Field(None, description="Where to search.")
    filter: str | None = Field(None, description="A filter as JSON, percent-encoded.")
    fields: str | None = Field(None, description="Names of fields, separated by commas; * for all.")
    rerank: RerankMode | None = Field(None, description="union, per-leg or none.")
    timeout_ms: int | None = Field(None, ge=1, description="By when the answer is due.")


class SearchResult(BaseModel):
    """One record. With `fields`, those fields stand here beside `_id` and `score`."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(alias="_id")
    score: float
    chunk_text: str | None = None
    found_by: list[str] | None = Field(None, description="Cascading retrieval: legs that found it.")


class StageModel(BaseModel):
    """What became of one stage."""

    stage: str
    status: Literal["ok", "failed", "late", "skipped"]
    ms: float
    candidates: int
    usage: dict[str, int]
    error: str | None = None


class ReceiptModel(BaseModel):
    """What became of each stage, and which stages are missing from the answer."""

    ms: float
    missing: list[str]
    stages: list[StageModel]


class SearchAnswer(BaseModel):
    """The results, best first. `degraded` says that a stage is missing; the receipt says which."""

    results: list[SearchResult]
    degraded: bool
    receipt: ReceiptModel


class FieldError(BaseModel):
    """What is wrong with one field."""

    loc: list[str | int]
    msg: str


class ErrorAnswer(BaseModel):
    """Every error has this shape."""

    detail: str
    code: str
    request_id: str
    errors: list[FieldError] | None = None
