"""The filters of requests: checked by the fields that the index has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from service.embedded.schema import Schema
from service.indexes.filters import LOGIC, MATCH, check_filter, shown


def check_filter_fields(schema: Schema, filter: Mapping[str, Any] | None) -> None:
    """`ValueError` says why a filter can't be used."""
    if filter is None:
        return
    check_filter(filter)
    for name, _ in _conditions(filter):
        if name in schema.dense_fields or name in schema.sparse_fields:
            raise ValueError(f"{shown(name)} holds vectors, and no filter can speak of them")


def check_selector(schema: Schema, filter: Mapping[str, Any] | None) -> None:
    """Of what is to be changed or deleted. As with Pinecone, texts can't select that."""
    if filter is None:
        return
    if not filter:
        raise ValueError("the filter is empty; to mean everything, say so")
    check_filter_fields(schema, filter)
    for name, condition in _conditions(filter):
        if isinstance(condition, Mapping) and not MATCH.isdisjoint(condition):
            raise ValueError(
                f"{shown(name)}: words of a text can't select what is changed or deleted"
            )


def _conditions(filter: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, condition in filter.items():
        if name not in LOGIC:
            yield name, condition
            continue
        for branch in condition:
            yield from _conditions(branch)
