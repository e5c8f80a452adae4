"""Which documents a filter selects.

Knows nothing of what the documents say, nor whether the filter is a valid one: `check_filter` has
accepted it. Its `$match_…` operators are answered by whoever asks, out of a lexical index.

Documents are known by numbers. A namespace has its own columns, so that a search in a small one
costs nothing for its large neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from pyroaring import BitMap

from service.embedded.filters.columns import Column, is_value
from service.indexes.filters import MATCH, ORDER, shown

Match = Callable[[str, str, str], BitMap]


class FilterIndex:
    """Every namespace's documents by value. Not thread-safe: the caller holds a lock.

    `select` and the other questions change nothing, and what they return is the asker's own.

    Of the fields that are `left_out`, because they hold long texts, it is only known who has them.
    """

    def __init__(self, left_out: Collection[str] = ()) -> None:
        self._left_out = frozenset(left_out)
        self._namespaces: dict[str, _Namespace] = {}

    def add(self, docno: int, namespace: str, fields: Mapping[str, Any]) -> None:
        """Take in a document. A changed one is removed and added under a new docno."""
        there = self._namespaces.get(namespace)
        if there is None:
            there = self._namespaces[namespace] = _Namespace(self._left_out)
        there.add(docno, fields)

    def remove(self, docno: int, namespace: str, fields: Mapping[str, Any]) -> None:
        """Forget a document, by the same fields that it was added with."""
        there = self._namespaces[namespace]
        there.remove(docno, fields)
        if not there.docnos:
            del self._namespaces[namespace]

    def namespace(self, name: str) -> BitMap:
        """The docnos in a namespace."""
        there = self._namespaces.get(name)
        return BitMap() if there is None else there.docnos.copy()

    def namespaces(self) -> dict[str, int]:
        """The namespaces' names, and how many documents there are in each."""
        return {name: len(there.docnos) for name, there in self._namespaces.items()}

    def has_only(self, namespace: str) -> bool:
        """Whether no other namespace has documents. Any thread may ask."""
        return self._namespaces.keys() <= {namespace}

    def select(
        self, namespace: str, filter: Mapping[str, Any] | None, match: Match | None = None
    ) -> BitMap:
        """The docnos in a namespace that a filter selects; a `ValueError` where it can't be told.

        `match(field, operator, text)` says which documents a text matches, in any namespace.
        """
        there = self._namespaces.get(namespace) or _Namespace(self._left_out)
        if not filter:
            return there.docnos.copy()
        return there.docnos & there.select(filter, match)


class _Namespace:
    """A namespace's documents. The BitMaps that its methods return may be its own."""

    __slots__ = ("_columns", "_left_out", "docnos")

    def __init__(self, left_out: frozenset[str]) -> None:
        self.docnos = BitMap()
        self._left_out = left_out
        self._columns: dict[str, Column] = {}

    def add(self, docno: int, fields: Mapping[str, Any]) -> None:
        self.docnos.add_checked(docno)  # raises if it is there
        for name, value in fields.items():
            if not is_value(value):
                continue
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = Column(compared=name not in self._left_out)
            column.add(docno, value)

    def remove(self, docno: int, fields: Mapping[str, Any]) -> None:
        self.docnos.remove(docno)  # raises if it is not there
        for name, value in fields.items():
            if not is_value(value):
                continue
            column = self._columns[name]
            column.remove(docno, value)
            if not column.present:
                del self._columns[name]

    def select(self, filter: Mapping[str, Any], match: Match | None) -> BitMap:
        return self._all(self._select(name, part, match) for name, part in filter.items())

    def _select(self, name: str, part: Any, match: Match | None) -> BitMap:
        if name == "$and":
            return self._all(self.select(branch, match) for branch in part)
        if name == "$or":
            return BitMap().union(*(self.select(branch, match) for branch in part))
        if not isinstance(part, Mapping):
            return self._condition(name, "$eq", part, match)
        found = [
            self._condition(name, operator, operand, match)
            for operator, operand in part.items()
            if operator not in ORDER
        ]
        order = {operator: part[operator] for operator in part if operator in ORDER}
        if order:
            found.append(self._column(name).between(*_bounds(order)))
        return self._all(found)

    def _condition(self, field: str, operator: str, operand: Any, match: Match | None) -> BitMap:
        if operator in MATCH:
            if match is None:
                raise ValueError(f"{operator} on {shown(field)}: there is no text to search here")
            return match(field, operator, operand)
        if operator == "$exists":
            column = self._columns.get(field)
            present = BitMap() if column is None else column.present
            return present if operand else self.docnos - present
        equal = self._column(field).equal(operand if operator in ("$in", "$nin") else [operand])
        return equal if operator in ("$eq", "$in") else self.docnos - equal

    def _column(self, field: str) -> Column:
        if field in self._left_out:
            raise ValueError(
                f"{shown(field)} holds texts and can't be compared; "
                "only $exists and the $match operators can stand here"
            )
        return self._columns.get(field) or Column(compared=True)

    def _all(self, parts: Iterable[BitMap]) -> BitMap:
        found = self.docnos
        for part in parts:
            found = part if found is self.docnos else found & part
        return found


def _bounds(order: Mapping[str, float]) -> tuple[float, float]:
    """The lowest and the highest number that meets all of the conditions."""
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
