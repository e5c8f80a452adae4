"""A model of the index: dictionaries, and brute force over all documents.

Filters, scores and text matching are implemented independently of the engine.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from service.embedded.schema import DenseField, Schema, SparseField, TextField
from service.inference.embedder import CorpusStatistics, TokenIds, Vector, Vectors

Fields = dict[str, Any]
DIMENSIONS = 8
WORDS = (
    "zorp",
    "blick",
    "quam",
    "frit",
    "dolm",
    "gurn",
    "vask",
    "e18",
)  # neither stemmed nor stop words
WORDED = ("body", "title")
SPACES = ("__default__", "a", "b")


def schema(metric: str) -> Schema:
    return Schema(
        {
            "body": TextField(embed=True, full_text=True),
            "title": TextField(embed=False, full_text=True),
            "v": DenseField(4, metric),
            "s": SparseField(),
        }
    )


class WordHashes:
    """Embeds each word as a direction; fast, and the same in every process."""

    name = "word-hashes"
    dimension = DIMENSIONS

    def embed(self, texts: Sequence[str]) -> Vectors:
        summed = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in zip(summed, texts, strict=True):
            for word in text.split():
                digest = zlib.crc32(word.encode())
                row[digest % DIMENSIONS] += 1 if digest & 64 else -1
        lengths = np.linalg.norm(summed, axis=1, keepdims=True)
        unit: Vectors = np.divide(summed, lengths, out=np.zeros_like(summed), where=lengths > 0)
        return unit

    def embed_query(self, text: str, corpus: CorpusStatistics) -> Vector:
        vector: Vector = self.embed([text])[0]
        return vector

    def count(self, texts: Sequence[str], corpus: CorpusStatistics, sign: int) -> None:
        corpus.add([pieces(text) for text in texts], sign)


def pieces(text: str) -> TokenIds:
    known = {WORDS.index(word) for word in text.split() if word in WORDS}
    return np.array(sorted(known), dtype=np.int64)


EMBEDDER = WordHashes()


class Model:
    """Documents by namespace and id."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.spaces: dict[str, dict[str, Fields]] = {name: {} for name in SPACES}

    def counts(self) -> dict[str, int]:
        return {name: len(there) for name, there in self.spaces.items() if there}

    def bodies(self) -> list[str]:
        return [each["body"] for there in self.spaces.values() for each in there.values()]

    def where(self, space: str, filter: Mapping[str, Any] | None) -> dict[str, Fields]:
        there = self.spaces[space]
        return {id: each for id, each in there.items() if not filter or holds(filter, each)}

    # --- scores, higher is better ---------------------------------------

    def near(self, query: Sequence[float]) -> Callable[[Fields], float | None]:
        """Scores by the metric."""
        asked = np.asarray(query, dtype=np.float64)

        def score(fields: Fields) -> float | None:
            own = np.asarray(fields["v"], dtype=np.float64)
            if self.metric == "euclidean":
                return float(-((own - asked) ** 2).sum())
            if self.metric == "dotproduct":
                return float(own @ asked)
            return float(own @ asked / np.linalg.norm(own) / np.linalg.norm(asked))

        return score


def meaning(query: str) -> Callable[[Fields], float | None]:
    asked = EMBEDDER.embed([query])[0]

    def score(fields: Fields) -> float | None:
        own = EMBEDDER.embed([fields["body"]])[0]
        return float(own @ asked) if own.any() else None

    return score


def product(query: Mapping[int, float]) -> Callable[[Fields], float | None]:
    def score(fields: Fields) -> float | None:
        own = fields.get("s")
        if own is None:
            return None
        both = [
            value * query[index]
            for index, value in zip(own["indices"], own["values"], strict=True)
            if index in query
        ]
        return float(sum(both)) if both else None

    return score


def has_a_word(query: str, names: Sequence[str], fields: Fields) -> bool:
    said = {word for name in names for word in fields.get(name, "").split()}
    return not said.isdisjoint(query.split())


# --- the filter language -----------------------------------------------------------------------


def holds(filter: Mapping[str, Any], fields: Fields) -> bool:
    return all(_part(name, part, fields) for name, part in filter.items())


def _part(name: str, part: Any, fields: Fields) -> bool:
    if name == "$and":
        return all(holds(branch, fields) for branch in part)
    if name == "$or":
        return any(holds(branch, fields) for branch in part)
    conditions = part if isinstance(part, Mapping) else {"$eq": part}
    return all(_condition(fields.get(name), *each) for each in conditions.items())


def _condition(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$exists":
        return (value is not None) is operand
    if operator in ("$eq", "$ne", "$in", "$nin"):
        found = _equals_any(value, operand if operator in ("$in", "$nin") else [operand])
        return found is (operator in ("$eq", "$in"))
    if operator.startswith("$match_"):
        return isinstance(value, str) and _matches_text(value.split(), operator, operand.split())
    return _compares(value, operator, operand)


def _compares(value: Any, operator: str, operand: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    orders = {"$gt": value > operand, "$gte": value >= operand, "$lt": value < operand}
    return orders.get(operator, value <= operand)


def _equals_any(value: Any, operands: Sequence[Any]) -> bool:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return any(
        each == operand and isinstance(each, bool) == isinstance(operand, bool)
        for each in values
        for operand in operands
    )


def _matches_text(said: Sequence[str], operator: str, asked: Sequence[str]) -> bool:
    if operator == "$match_any":
        return not set(said).isdisjoint(asked)
    if operator == "$match_all":
        return set(asked) <= set(said)
    return any(said[at : at + len(asked)] == asked for at in range(len(said)))
