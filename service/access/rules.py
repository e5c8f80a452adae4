"""Checks of what a key or a token may name: namespaces, and a condition on records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.indexes.filters import MATCH, check_filter, conditions
from service.settings import check_namespace

MAX_RULES = 100  # namespaces of a key, or of a token
MAX_FORCED_CONDITIONS = 100


def check_pattern(pattern: str) -> str:
    """A namespace, or `prefix*` for all namespaces that begin so; raises `ValueError`."""
    name = pattern.removesuffix("*")
    if pattern != "*":
        try:
            check_namespace(name)
        except ValueError as exc:
            raise ValueError(f"{exc}; a * at its end stands for any characters") from None
    return pattern


def check_forced_filter(filter: Any) -> Mapping[str, Any]:
    """A filter that the service can apply to a single record, too; raises `ValueError`."""
    check_filter(filter)
    found = [operator for _, operator, _ in conditions(filter)]
    if not found:
        raise ValueError("has no condition; leave the filter out to allow all records")
    if len(found) > MAX_FORCED_CONDITIONS:
        raise ValueError(f"has more than {MAX_FORCED_CONDITIONS} conditions")
    if matches := sorted(MATCH.intersection(found)):
        raise ValueError(f"{matches[0]} is not allowed in the filter of a key or token")
    forced: Mapping[str, Any] = filter
    return forced


def covers(pattern: str, other: str) -> bool:
    """Whether every namespace that `other` names is one that `pattern` names."""
    if pattern.endswith("*"):
        return other.startswith(pattern[:-1])
    return other == pattern
