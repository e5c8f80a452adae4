"""The filter index: finds the documents that a filter selects.

A filter must have passed `check_filter`. Its `$match_…` operators are evaluated by a callback, on
the lexical index. Each namespace has columns of its own, so that a search in a small namespace does
not pay for a large one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from pyroaring import BitMap

from service.embedded.filters.columns import Column, is_filterable
from service.indexes.filters import MATCH, ORDER, shown
from service.indexes.limits import MAX_INDEX_FIELDS

Match = Callable[[str, str, str], BitMap]
CheckCancelled = Callable[[], None]


def never_cancelled() -> None:
    """Check nothing."""


class FilterIndex:
    """The field values of all documents, by namespace. Not thread-safe: the caller holds a lock.

    Reading methods change nothing and return bitmaps that the caller may modify. Of the fields in
    `not_compared`, which hold long texts, only their presence is recorded. If all namespaces have
    more than `max_fields` fields, which an older version allowed, the rest can't be filtered by.
    """

    def __init__(
        self, not_compared: Collection[str] = (), max_fields: int = MAX_INDEX_FIELDS
    ) -> None:
        self._not_compared = frozenset(not_compared)
        self._namespaces: dict[str, _Namespace] = {}
        self._max_fields = max_fields
        self._field_count = 0

    def add(self, docno: int, namespace: str, fields: Mapping[str, Any]) -> None:
        """Add a document. A new version of a record has a new docno."""
        found = self._namespaces.get(namespace)
        if found is None:
            found = self._namespaces[namespace] = _Namespace(self._not_compared)
        self._field_count += found.add(docno, fields, self._max_fields - self._field_count)

    def remove(self, docno: int, namespace: str, fields: Mapping[str, Any]) -> None:
        """Remove a document, given the fields with which it was added."""
        found = self._namespaces[namespace]
        self._field_count -= found.remove(docno, fields)
        if not found.docnos:
            del self._namespaces[namespace]

    def namespace(self, name: str) -> BitMap:
        """Return the docnos in a namespace."""
        found = self._namespaces.get(name)
        return BitMap() if found is None else found.docnos.copy()

    def namespace_counts(self) -> dict[str, int]:
        """Return the number of documents in each namespace."""
        return {name: len(found.docnos) for name, found in self._namespaces.items()}

    def count(self) -> int:
        """Return the number of documents. Needs no lock."""
        return sum(len(each.docnos) for each in list(self._namespaces.values()))

    def has_only(self, namespace: str) -> bool:
        """Return whether no other namespace has documents. Needs no lock."""
        return self._namespaces.keys() <= {namespace}

    def has(self, namespace: str) -> bool:
        """Return whether a namespace has documents. Needs no lock."""
        return namespace in self._namespaces

    def has_field(self, namespace: str, field: str) -> bool:
        """Return whether a document of a namespace has a field. Needs no lock."""
        found = self._namespaces.get(namespace)
        return found is not None and found.has_field(field)

    def field_count(self, namespace: str | None = None) -> int:
        """Return the number of fields in a namespace, or in all of them. Needs no lock."""
        if namespace is None:
            return self._field_count
        found = self._namespaces.get(namespace)
        return 0 if found is None else found.field_count

    def select(
        self,
        namespace: str,
        filter: Mapping[str, Any] | None,
        match: Match | None = None,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> BitMap:
        """Return the docnos in a namespace that a filter selects.

        `match(field, operator, text)` returns the matching documents of all namespaces.
        `check_cancelled` is called before each condition, and raises to end the work. Raises
        ValueError if the filter compares a field that is not compared.
        """
        found = self._namespaces.get(namespace) or _Namespace(self._not_compared)
        if not filter:
            return found.docnos.copy()
        return found.docnos & _Selection(found, match, check_cancelled).select(filter)


class _Namespace:
    """The documents of a namespace. Its methods may return bitmaps that must not be modified."""

    __slots__ = ("_columns", "_is_truncated", "_not_compared", "docnos")

    def __init__(self, not_compared: frozenset[str]) -> None:
        self.docnos = BitMap()
        self._not_compared = not_compared
        self._columns: dict[str, Column] = {}
        self._is_truncated = False  # fields are missing, but those that are here are complete

    def add(self, docno: int, fields: Mapping[str, Any], max_new: int) -> int:
        """Add a document with at most so many new fields; returns how many it has added."""
        self.docnos.add_checked(docno)  # raises if present
        added = 0
        for name, value in fields.items():
            if not is_filterable(value):
                continue
            column = self._columns.get(name)
            if column is None:
                if self._is_truncated or added >= max_new:
                    self._is_truncated = True
                    continue
                column = self._columns[name] = Column(compared=name not in self._not_compared)
                added += 1
            column.add(docno, value)
        return added

    def remove(self, docno: int, fields: Mapping[str, Any]) -> int:
        """Remove a document; returns how many fields no document has any more."""
        self.docnos.remove(docno)  # raises if absent
        gone = 0
        for name, value in fields.items():
            if not is_filterable(value):
                continue
            column = self._columns.get(name)
            if column is None and self._is_truncated:
                continue
            column = self._columns[name]
            column.remove(docno, value)
            if not column.present:
                del self._columns[name]
                gone += 1
        return gone

    @property
    def field_count(self) -> int:
        return len(self._columns)

    def has_field(self, field: str) -> bool:
        return field in self._columns

    def column(self, field: str) -> Column:
        self._check_complete(field)
        if field in self._not_compared:
            raise ValueError(
                f"{shown(field)} is a text field and can't be compared; "
                "use $exists or a $match operator"
            )
        return self._columns.get(field) or Column(compared=True)

    def _check_complete(self, field: str) -> None:
        if self._is_truncated and field not in self._columns:
            raise ValueError(
                f"{shown(field)} can't be filtered by: the records have too many different fields; "
                "delete some of them, and start the service again"
            )

    def present(self, field: str) -> BitMap:
        self._check_complete(field)
        column = self._columns.get(field)
        return BitMap() if column is None else column.present


class _Selection:
    """The evaluation of a filter on a namespace. Bitmaps that it returns must not be modified."""

    def __init__(
        self, namespace: _Namespace, match: Match | None, check_cancelled: CheckCancelled
    ) -> None:
        self._namespace = namespace
        self._match = match
        self._check_cancelled = check_cancelled

    def select(self, filter: Mapping[str, Any]) -> BitMap:
        return self._intersection(self._select(name, part) for name, part in filter.items())

    def _select(self, name: str, part: Any) -> BitMap:
        if name == "$and":
            return self._intersection(self.select(branch) for branch in part)
        if name == "$or":
            return BitMap().union(*(self.select(branch) for branch in part))
        if not isinstance(part, Mapping):
            return self._condition(name, "$eq", part)
        found = [
            self._condition(name, operator, operand)
            for operator, operand in part.items()
            if operator not in ORDER
        ]
        order = {operator: part[operator] for operator in part if operator in ORDER}
        if order:
            self._check_cancelled()
            found.append(self._namespace.column(name).between(*_bounds(order)))
        return self._intersection(found)

    def _condition(self, field: str, operator: str, operand: Any) -> BitMap:
        self._check_cancelled()
        if operator in MATCH:
            if self._match is None:
                raise ValueError(f"{operator} on {shown(field)}: no text can be searched here")
            return self._match(field, operator, operand)
        if operator == "$exists":
            present = self._namespace.present(field)
            return present if operand else self._namespace.docnos - present
        equal = self._namespace.column(field).equal(
            operand if operator in ("$in", "$nin") else [operand]
        )
        return equal if operator in ("$eq", "$in") else self._namespace.docnos - equal

    def _intersection(self, parts: Iterable[BitMap]) -> BitMap:
        found = self._namespace.docnos
        for part in parts:
            found = part if found is self._namespace.docnos else found & part
        return found


def _bounds(order: Mapping[str, float]) -> tuple[float, float]:
    """Return the lowest and the highest number that meet all conditions."""
    low, high = -math.inf, math.inf
    for operator, operand in order.items():
        number = float(operand)
        if operator == "$gte":
            low = max(low, number)
        elif operator == "$gt":
            low = max(low, math.nextafter(number, math.inf))
        elif operator == "$lte":
            high = min(high, number)
        else:
            high = min(high, math.nextafter(number, -math.inf))
    return low, high
