"""Evaluates a filter on one record, as the backends do on many.

It is for the filter of a grant and a record that was read by its id. A condition that it does not
know matches nothing.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

NEGATED = {"$ne": "$eq", "$nin": "$in"}
ORDER: Mapping[str, Callable[[Any, Any], Any]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def matches(record: Mapping[str, Any], filter: Mapping[str, Any]) -> bool:
    """Whether a record matches a valid filter."""
    return all(_matches_member(record, name, member) for name, member in filter.items())


def _matches_member(record: Mapping[str, Any], name: str, member: Any) -> bool:
    if name == "$and":
        return all(matches(record, branch) for branch in member)
    if name == "$or":
        return any(matches(record, branch) for branch in member)
    conditions = member if isinstance(member, Mapping) else {"$eq": member}
    values = _values(record.get(name))
    return all(_holds(record.get(name), values, *condition) for condition in conditions.items())


def _holds(value: Any, values: Sequence[Any], condition: str, operand: Any) -> bool:
    if condition in NEGATED:
        return not _holds(value, values, NEGATED[condition], operand)
    if condition == "$eq":
        return any(_equal(each, operand) for each in values)
    if condition == "$in":
        return any(_equal(each, wanted) for each in values for wanted in operand)
    if condition == "$exists":
        return (bool(values) or value == []) is bool(operand)
    if condition in ORDER:
        return _is_number(value) and bool(ORDER[condition](value, operand))
    return False


def _values(value: Any) -> Sequence[Any]:
    """What conditions compare with: a text, number or boolean, or each text of a list."""
    if isinstance(value, list):
        return value if all(isinstance(each, str) for each in value) else ()
    return (value,) if isinstance(value, str | bool) or _is_number(value) else ()


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _equal(left: Any, right: Any) -> bool:
    if _is_number(left) and _is_number(right):
        return float(left) == float(right)
    return type(left) is type(right) and bool(left == right)
