"""The interface of rerankers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RerankResult:
    """The position and score of each document, best first, and the rerank units used."""

    order: list[tuple[int, float]]
    units: int
    tries: int = 1


class Reranker(Protocol):
    """Scores documents against a query, in one call."""

    @property
    def model(self) -> str: ...

    @property
    def max_documents(self) -> int:
        """The largest number of documents per call."""
        ...

    async def rerank(self, query: str, documents: Sequence[str]) -> RerankResult: ...
