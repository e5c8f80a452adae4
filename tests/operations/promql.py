"""Finds the metrics and the labels in a PromQL expression, as far as our expressions go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

SELECTOR = re.compile(r"\b(?P<name>(?:cascade|process)_\w+|up)\b(?:\{(?P<matchers>[^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
GROUPING = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
VARIABLE = re.compile(r"\$\w+")
SCRAPED = {"job", "instance"}  # labels that Prometheus adds to every sample


class Selector(NamedTuple):
    """A metric, and the values or patterns of its labels."""

    name: str
    matchers: list[tuple[str, str, str]]


def selectors(expression: str) -> Iterator[Selector]:
    for found in SELECTOR.finditer(expression):
        yield Selector(found["name"], MATCHER.findall(found["matchers"] or ""))


def grouping_labels(expression: str) -> set[str]:
    lists = (each.split(",") for each in GROUPING.findall(expression))
    return {label.strip() for each in lists for label in each}


def accepts(matcher: tuple[str, str, str], value: str) -> bool:
    """Whether a matcher selects this value of its label."""
    _, operator, pattern = matcher
    if operator in {"=", "!="}:
        return (value == pattern) == (operator == "=")
    return bool(re.fullmatch(pattern, value)) == (operator == "=~")
