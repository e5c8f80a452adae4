"""The kinds of queries by which an index ranks documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.embedded.lexical.queries import TextClause

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SemanticQuery:
    """Rank by the similarity of the embeddings of a text and of a text field."""

    field: str
    text: str


@dataclass(frozen=True, slots=True)
class DenseQuery:
    """Rank by the similarity of a vector to that of a dense field."""

    field: str
    vector: Vector


@dataclass(frozen=True, slots=True)
class SparseQuery:
    """Rank by the dot product of a sparse vector and that of a sparse field."""

    field: str
    indices: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class LexicalQuery:
    """Rank by BM25 the documents that match a clause and have every word of `match_all`."""

    clauses: Sequence[TextClause]
    match_all: Sequence[str] = ()


IndexQuery = SemanticQuery | DenseQuery | SparseQuery | LexicalQuery
