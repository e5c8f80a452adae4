"""Validation of filters by the schema of an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from service.embedded.schema import Schema
from service.indexes.filters import LOGIC, MATCH, check_filter, shown


def check_filter_fields(schema: Schema, filter: Mapping[str, Any] | None) -> None:
    """Raise `ValueError` if a filter is invalid or compares a vector field."""
    if filter is None:
        return
    check_filter(filter)
    for name, _ in _conditions(filter):
        if name in schema.dense_fields or name in schema.sparse_fields:
            raise ValueError(f"{shown(name)} holds vectors, which can't be filtered by")


def check_selector(schema: Schema, filter: Mapping[str, Any] | None) -> None:
    """Raise `ValueError` if a filter can't select records to update or delete.

    As in Pinecone, it can't search texts.
    """
    if filter is None:
        return
    if not filter:
        raise ValueError("the filter is empty; give it a condition")
    check_filter_fields(schema, filter)
    for name, condition in _conditions(filter):
        if isinstance(condition, Mapping) and not MATCH.isdisjoint(condition):
            raise ValueError(
                f"{shown(name)}: a text search can't select records to update or delete"
            )


def _conditions(filter: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, condition in filter.items():
        if name not in LOGIC:
            yield name, condition
            continue
        for branch in condition:
            yield from _conditions(branch)
