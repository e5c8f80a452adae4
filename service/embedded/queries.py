"""What a search can rank documents by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.embedded.lexical.index import TextClause

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SemanticQuery:
    """How near a text's embedding is to that of a field."""

    field: str
    text: str


@dataclass(frozen=True, slots=True)
class DenseQuery:
    """How near a vector is to that of a field."""

    field: str
    vector: Vector


@dataclass(frozen=True, slots=True)
class SparseQuery:
    """The dot product of a sparse vector with that of a field."""

    field: str
    indices: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class LexicalQuery:
    """BM25 of words, out of documents that have every word of `match_all`."""

    clauses: Sequence[TextClause]
    match_all: Sequence[str] = ()


IndexQuery = SemanticQuery | DenseQuery | SparseQuery | LexicalQuery
