"""The protocol of a backend, and what is open while it serves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from service.indexes.index import Index
from service.indexes.reads import HedgedReads
from service.inference.reranker import Reranker
from service.records.records import WaitUntilVisible
from service.retrieval.query import Highlighter

if TYPE_CHECKING:  # the engine takes long to import, and Pinecone needs none of it
    from service.embedded.engine_state import EngineState


@dataclass(frozen=True, slots=True)
class OpenBackend:
    """The open indexes and the reranker of a backend, and how to search them.

    `location` identifies the data. `candidates` is the least number of hits that each leg of a
    cascade requests, and `candidates_alone` that of a search with one leg, which keeps the hits
    beyond the first page for the next ones. `upstreams` are the reads of each upstream by its name,
    and `engine_state` returns the state of the embedded engine, for the metrics.
    """

    dense: Index
    sparse: Index
    reranker: Reranker | None
    text_field: str
    location: str
    lexical_weight: float = 0.5
    candidates: int = 0
    candidates_alone: int = 0
    highlighter: Highlighter | None = None
    wait_until_visible: WaitUntilVisible | None = None
    upstreams: Mapping[str, HedgedReads[Any]] = field(default_factory=dict)
    engine_state: Callable[[], EngineState] | None = None


class Backend(Protocol):
    """Opens a backend. Its constructor raises `StartupFailed` for settings that can't work."""

    @property
    def max_reranked(self) -> int:
        """The largest number of results to rerank; 0 without a reranker."""
        ...

    @property
    def reranks_by_default(self) -> bool:
        """Whether cascading retrieval reranks if the request does not say."""
        ...

    def opened(self) -> contextlib.AbstractAsyncContextManager[OpenBackend]: ...
