"""What a search needs to have open, whoever has opened it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Protocol

from service.indexes.index import Index
from service.inference.reranker import Reranker
from service.records.records import Show
from service.retrieval.query import Highlighter


@dataclass(frozen=True, slots=True)
class Opened:
    """What a search needs, open."""

    dense: Index
    sparse: Index
    reranker: Reranker | None
    text_field: str
    place: str  # a name that nothing else has which can be searched
    lexical_weight: float = 0.5
    candidates: int = 0  # that each leg of a cascade looks for at least
    candidates_alone: int = 0  # and a leg by itself: what is beyond the first page is for the next
    highlighter: Highlighter | None = None
    show: Show | None = None  # makes searches see what was written


class Sources(Protocol):
    """Opens what a search needs. Whatever can be known to be wrong before that is said at once."""

    @property
    def max_reranked(self) -> int:
        """How many results can be reranked; 0 where there is no reranker."""
        ...

    @property
    def reranks_unasked(self) -> bool:
        """Whether cascading retrieval reranks unless it is told not to."""
        ...

    def opened(self) -> contextlib.AbstractAsyncContextManager[Opened]: ...
