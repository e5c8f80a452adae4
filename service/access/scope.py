"""What a key or a token may see: namespaces, a filter on each, and fields.

A scope only narrows. A token has the scope of its key and its own, and both apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Filter = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NamespaceRule:
    """Opens the namespace of this name, or with `prefix*` all that begin with the prefix.

    Only records that match `filter` exist for the caller.
    """

    pattern: str
    filter: Filter | None = None

    def matches(self, namespace: str) -> bool:
        if self.pattern.endswith("*"):
            return namespace.startswith(self.pattern[:-1])
        return namespace == self.pattern


@dataclass(frozen=True, slots=True)
class Scope:
    """`namespaces` of None opens all of them, and `fields` of None every field."""

    namespaces: tuple[NamespaceRule, ...] | None = None
    filter: Filter | None = None
    fields: frozenset[str] | None = None

    def rule(self, namespace: str) -> NamespaceRule | None:
        """The rule for a namespace: that of its name, or else the one with the longest prefix."""
        if self.namespaces is None:
            return NamespaceRule("*")
        found = [rule for rule in self.namespaces if rule.matches(namespace)]
        return max(found, key=_precedence, default=None)

    def allows(self, namespace: str) -> bool:
        return self.rule(namespace) is not None

    def filters(self, namespace: str) -> list[Filter]:
        """The conditions on the records of a namespace that it allows."""
        rule = self.rule(namespace)
        return [each for each in (self.filter, rule and rule.filter) if each]


def _precedence(rule: NamespaceRule) -> tuple[bool, int]:
    return not rule.pattern.endswith("*"), len(rule.pattern)


def all_of(filters: Sequence[Filter]) -> Filter | None:
    """One filter that matches what all of them match."""
    if len(filters) < 2:  # noqa: PLR2004
        return filters[0] if filters else None
    return {"$and": list(filters)}
