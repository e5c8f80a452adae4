"""The schemas of search responses and events, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.retrieval.receipt import Status
from service.web.responses import EVENT_STREAM

CACHE = (
    "Where the answer came from. `hit`: the cache, which `Cache-Control: no-cache` bypasses. "
    "`shared`: an identical search in progress. `miss`: a new search. `bypass`: a new search, as "
    "requested. `off`: a new search, because caching is disabled. `frozen`: the stored ranking of "
    "a cursor."
)


class StageRank(BaseModel):
    """The rank and score of a record at one stage."""

    rank: int = Field(description="The rank, from 1.")
    score: float = Field(description="The score. Not comparable with scores of other stages.")


class ResultExplanation(BaseModel):
    """Why a record has its rank."""

    legs: dict[str, StageRank | None] = Field(
        description="The rank in each leg; null if the leg did not find the record. With "
        "`rerank=per-leg`, the rank after the rerank."
    )
    fused: StageRank | None = Field(description="The rank after fusion, with several legs.")
    reranked: StageRank | None = Field(description="The rank after the rerank of the union.")
    rank_without: dict[str, int | None] = Field(
        description="The rank that the record would have without a leg or without the rerank. It "
        "may exceed `top_k`; null if the record would not be found."
    )


class SearchResult(BaseModel):
    """A record. Has the requested `fields` beside `_id` and `score`."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(alias="_id", description="The id of the record.")
    score: float = Field(description="The score; higher is better. From 0 to 1 after a rerank.")
    chunk_text: str | None = Field(None, description="The text of the record.")
    found_by: list[str] | None = Field(
        None, description="The legs that found the record. Cascading retrieval only."
    )
    highlights: list[list[int]] | None = Field(
        None,
        description="Start and end of each match in the text, in the unit `offsets`. With "
        "`highlight`. Absent if the receipt says that `highlight` is missing.",
    )
    explain: ResultExplanation | None = Field(
        None, description="With `explain`. Absent if the receipt says that it is missing."
    )


class Stage(BaseModel):
    """The outcome of one stage."""

    stage: str = Field(
        description="`semantic`, `lexical`, `fuse` or `rerank`; `highlight` or "
        "`explain` if it is late."
    )
    status: Status
    ms: float = Field(description="The duration in milliseconds.")
    candidates: int = Field(description="How many records the stage found or ordered.")
    usage: dict[str, int] = Field(description="The units that Pinecone charged.")
    error: str | None = Field(
        None, description="Why the stage is missing: an error code, or `no_time`."
    )
    attempts: int = Field(description="How many calls were made.")
    fallback: str | None = Field(None, description="What was used in place of a missing stage.")


class SearchReceipt(BaseModel):
    """What the search did."""

    ms: float = Field(
        description="The duration of the search, or of the cache lookup, in milliseconds."
    )
    cache: Literal["hit", "shared", "miss", "bypass", "off", "frozen"] = Field(description=CACHE)
    age_ms: float | None = Field(
        None, description="The age of a cached answer in milliseconds. With `hit` only."
    )
    note: str | None = Field(
        None,
        description="Says that the namespace has no records. Embedded engine only.",
    )
    missing: list[str] = Field(description="The stages that failed or were late.")
    stages: list[Stage]


class SearchResponse(BaseModel):
    """The best results, in order."""

    results: list[SearchResult]
    degraded: bool = Field(
        description="True if a stage is missing from the answer; `receipt.missing` names it."
    )
    cursor: str | None = Field(description="The cursor of the next page; null on the last page.")
    receipt: SearchReceipt


class SearchHeaders(BaseModel):
    etag: str = Field(alias="ETag", description="A weak validator: equal results, equal ETags.")
    cache_control: str = Field(alias="Cache-Control", description="`private, no-cache`")
    x_cache: str = Field(alias="X-Cache", description=CACHE)
    age: int = Field(
        alias="Age", description="The age of a cached answer in seconds. With `hit` only."
    )


class NotModified(BaseModel):
    """The results are those of the ETag in `If-None-Match`."""


class RankChange(BaseModel):
    """A record whose rank changed since the previous event."""

    id: str = Field(alias="_id", description="The id of the record.")
    from_: int | None = Field(
        alias="from", description="The previous rank, from 1; null if the record is new."
    )
    to: int | None = Field(description="The new rank, from 1; null if the record was removed.")


class SearchEvent(BaseModel):
    """The data of an event: `leg`, `fused`, `reranked` or `done`.

    `done` is the last event and has everything that the JSON response has. If the search fails
    after the first event, the last event is `error`, with the data of an error response.
    """

    media_types: ClassVar[Mapping[str, Any]] = {EVENT_STREAM: None}

    stage: Literal["leg", "fused", "reranked", "done"] = Field(description="The event's name.")
    leg: str | None = Field(None, description="The leg that has answered. With `leg` only.")
    results: list[SearchResult] = Field(description="The best results so far.")
    moved: list[RankChange] = Field(description="The rank changes since the previous event.")
    degraded: bool | None = Field(None, description="As in the JSON response. With `done` only.")
    cursor: str | None = Field(None, description="As in the JSON response. With `done` only.")
    receipt: SearchReceipt | None = Field(
        None, description="As in the JSON response. With `done` only."
    )
