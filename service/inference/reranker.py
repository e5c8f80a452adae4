"""What Cascade asks of a reranker, wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RerankResult:
    """Each document's position with its score, best first, and the units used."""

    order: list[tuple[int, float]]
    units: int
    tries: int = 1


class Reranker(Protocol):
    """Scores documents against a query, all in one go."""

    @property
    def model(self) -> str: ...

    @property
    def max_documents(self) -> int:
        """How many documents one call takes."""
        ...

    async def rerank(self, query: str, documents: Sequence[str]) -> RerankResult: ...
