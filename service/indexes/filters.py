"""Validates filters in Pinecone's filter language.

Every backend uses the same check, so that an invalid filter gets the same error everywhere, before
a call is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

COMPARE = frozenset({"$eq", "$ne"})
ORDER = frozenset({"$gt", "$gte", "$lt", "$lte"})
MEMBER = frozenset({"$in", "$nin"})
MATCH = frozenset({"$match_phrase", "$match_all", "$match_any"})
LOGIC = frozenset({"$and", "$or"})
OPERATORS = COMPARE | ORDER | MEMBER | MATCH | {"$exists"}

MAX_DEPTH = 32
MAX_VALUES = 10_000  # of one $in or $nin, as in Pinecone
MAX_CONDITIONS = 1_000
MAX_TEXT_CONDITIONS = 100  # $match_…, each of which searches
MAX_ALL_VALUES = 50_000
MAX_SHOWN = 40


def check_filter(filter: Any) -> None:
    """Raise `ValueError` with a sentence that says where and what is wrong."""
    if not isinstance(filter, Mapping):
        raise ValueError(  # noqa: TRY004 - it is a value out of a request
            'a filter is a JSON object, such as {"genre": {"$eq": "drama"}}'
        )
    _check_object(filter, depth=0)
    _check_cost(filter)


def conditions(filter: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """The field, the operator and the operand of each condition of a valid filter."""
    for name, condition in filter.items():
        if name in LOGIC:
            for branch in condition:
                yield from conditions(branch)
        elif isinstance(condition, Mapping):
            for operator, operand in condition.items():
                yield name, operator, operand
        else:
            yield name, "$eq", condition


def _check_cost(filter: Mapping[str, Any]) -> None:
    """A filter within these limits selects in less time than a search has."""
    count = texts = values = 0
    for _, operator, operand in conditions(filter):
        count += 1
        texts += operator in MATCH
        values += len(operand) if operator in MEMBER else 1
    for kind, found, limit in (
        ("conditions", count, MAX_CONDITIONS),
        ("$match conditions", texts, MAX_TEXT_CONDITIONS),
        ("values", values, MAX_ALL_VALUES),
    ):
        if found > limit:
            raise ValueError(
                f"a filter has at most {limit:,} {kind}, and this one has {found:,}; "
                "use $in for many values of a field, or split the request"
            )


def _check_object(filter: Mapping[str, Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"a filter is at most {MAX_DEPTH} levels deep")
    for name, condition in filter.items():
        if name in LOGIC:
            _check_branches(name, condition, depth)
        elif name.startswith("$"):
            raise ValueError(
                f"{shown(name)} can't stand here: at this level only $and, $or or a field's name"
            )
        elif isinstance(condition, Mapping):
            _check_conditions(name, condition)
        else:
            _check_value(name, "$eq", condition)


def _check_branches(name: str, branches: Any, depth: int) -> None:
    if not isinstance(branches, list) or not branches:
        raise ValueError(f"{name} takes a list of at least one filter")
    for branch in branches:
        if not isinstance(branch, Mapping):
            raise ValueError(  # noqa: TRY004
                f"every branch of {name} is a filter, that is, a JSON object"
            )
        _check_object(branch, depth + 1)


def _check_conditions(field: str, conditions: Mapping[str, Any]) -> None:
    if not conditions:
        raise ValueError(f"{shown(field)} has no condition")
    for operator, operand in conditions.items():
        if operator not in OPERATORS:
            known = " ".join(sorted(OPERATORS))
            raise ValueError(
                f"{shown(operator)} on {shown(field)} is not an operator; there are {known}"
            )
        _check_value(field, operator, operand)


def _check_value(field: str, operator: str, value: Any) -> None:
    where = f"{operator} on {shown(field)}"
    if operator == "$exists":
        if not isinstance(value, bool):
            raise ValueError(f"{where} takes true or false")
    elif operator in MATCH:
        if not isinstance(value, str) or not value:
            raise ValueError(f"{where} takes a text")
    elif operator in ORDER:
        if not _is_number(value):
            raise ValueError(f"{where} takes a number")
    elif operator in MEMBER:
        if not isinstance(value, list) or len(value) > MAX_VALUES:
            raise ValueError(f"{where} takes a list of at most {MAX_VALUES} values")
        if not all(isinstance(item, str) or _is_number(item) for item in value):
            raise ValueError(f"{where} takes a list of texts or numbers")
    elif not (isinstance(value, str | bool) or _is_number(value)):
        raise ValueError(f"{where} takes a text, a number, true or false")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -(2**63) <= value < 2**63  # false for NaN


def shown(name: str) -> str:
    """A name from a request, quoted and shortened for an error message."""
    return repr(name if len(name) <= MAX_SHOWN else name[:MAX_SHOWN] + "…")
