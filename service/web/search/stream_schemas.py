"""What a search says while it runs, as types, for the documentation."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from service.web.responses import MEDIA_TYPE
from service.web.search.response_schemas import SearchReceipt, SearchResult


class RankChange(BaseModel):
    """A record that is on another rank than it was after the stage before."""

    id: str = Field(alias="_id", description="The record's id.")
    from_: int | None = Field(alias="from", description="From 1; null if it was not shown.")
    to: int | None = Field(description="From 1; null if it is not shown any more.")


class SearchEvent(BaseModel):
    """Events named `leg`, `fused`, `reranked` and `done`, each with the best results so far.

    What is described here is an event's `data`. The last one is `done`, with all that the JSON
    answer has. Or it is `error`, if something fails after the first one; its data is an error's.
    """

    media_type: ClassVar[str] = MEDIA_TYPE

    stage: Literal["leg", "fused", "reranked", "done"] = Field(description="The event's name.")
    leg: str | None = Field(None, description="With leg: which one has answered.")
    results: list[SearchResult] = Field(description="The best results so far.")
    moved: list[RankChange] = Field(description="Rank changes since the previous event.")
    degraded: bool | None = Field(None, description="With done, as in the JSON answer.")
    cursor: str | None = Field(None, description="With done, as in the JSON answer.")
    receipt: SearchReceipt | None = Field(None, description="With done, as in the JSON answer.")
