"""What a search over HTTP is answered with, as types, for the documentation."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.retrieval.receipt import Status

CACHE = (
    "hit: it was kept (`Cache-Control: no-cache` searches anew); shared: the same search was under "
    "way; miss: it was searched for; bypass: you asked for that; off: nothing is kept here; "
    "frozen: a later page."
)


class StageRank(BaseModel):
    """Where a stage put a record."""

    rank: int = Field(description="From 1.")
    score: float = Field(description="As that stage counts; not comparable with other stages'.")


class ResultExplanation(BaseModel):
    """Why a record stands where it stands, from what the search has fetched anyway."""

    legs: dict[str, StageRank | None] = Field(
        description="Each leg that answered; null where it did not find the record. "
        "With rerank=per-leg, a leg's order is the reranked one."
    )
    fused: StageRank | None = Field(description="Among what several legs found.")
    reranked: StageRank | None = Field(description="With rerank=union, if the reranker answered.")
    rank_without: dict[str, int | None] = Field(
        description="Its rank without that leg, or without the rerank, though it may be beyond "
        "top_k; null where nothing that is left found the record."
    )


class SearchResult(BaseModel):
    """One record. With `fields`, those fields stand here beside `_id` and `score`."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(alias="_id", description="The record's id.")
    score: float = Field(description="Higher is better; from 0 to 1 where it was reranked.")
    chunk_text: str | None = Field(None, description="The record's text.")
    found_by: list[str] | None = Field(None, description="Cascading retrieval: legs that found it.")
    highlights: list[list[int]] | None = Field(
        None, description="With `highlight`: from which to which character of its text."
    )
    explain: ResultExplanation | None = Field(None, description="With `explain`.")


class Stage(BaseModel):
    """What became of one stage."""

    stage: str = Field(description="semantic, lexical, fuse or rerank.")
    status: Status
    ms: float = Field(description="How long it took.")
    candidates: int = Field(description="How many records it found or ordered.")
    usage: dict[str, int] = Field(description="The units that Pinecone counted.")
    error: str | None = Field(None, description="Why it is missing: an error's code, or no_time.")
    attempts: int = Field(description="How many calls were made for it.")
    fallback: str | None = Field(None, description="What stands in for it, if it is missing.")


class SearchReceipt(BaseModel):
    """What became of each stage, and which stages are missing from the answer."""

    ms: float = Field(description="How long the whole search took, or the look into the cache.")
    cache: Literal["hit", "shared", "miss", "bypass", "off", "frozen"] = Field(description=CACHE)
    age_ms: float | None = Field(None, description="With a hit: how old the answer is.")
    missing: list[str] = Field(description="The stages which the answer had to do without.")
    stages: list[Stage]


class SearchResponse(BaseModel):
    """The results, best first. `degraded` says that a stage is missing; the receipt says which."""

    results: list[SearchResult]
    degraded: bool = Field(description="Whether a stage is missing.")
    cursor: str | None = Field(description="Asks for the next page; null where there is none.")
    receipt: SearchReceipt


class SearchHeaders(BaseModel):
    """What an answer to a search says of itself."""

    etag: str = Field(alias="ETag", description="Another one for other results.")
    cache_control: str = Field(alias="Cache-Control", description="private, no-cache")
    x_cache: str = Field(alias="X-Cache", description=CACHE)
    age: int = Field(alias="Age", description="With a hit: how old the answer is, in seconds.")


class NotModified(BaseModel):
    """To a GET with `If-None-Match`: what you have is what you would get."""
