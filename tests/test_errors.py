"""The tree of errors."""

from __future__ import annotations

import re

import pytest

from service import errors


def every(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(every(child) for child in kind.__subclasses__()))


def test_error_tree_in_the_docstring_matches_the_classes() -> None:
    drawn = re.findall(r"[├└]─ (\w+)", errors.__doc__ or "")
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == {kind.__name__ for kind in every(errors.CascadeError)} - {"CascadeError"}


def test_error_codes_are_unique_and_statuses_are_errors() -> None:
    kinds = [kind for kind in every(errors.RequestError) if issubclass(kind, errors.RequestError)]
    codes = [kind.code for kind in kinds if kind is not errors.InternalError]
    assert len(codes) == len(set(codes))
    assert all(400 <= kind.status < 600 for kind in kinds)


@pytest.mark.parametrize("kind", sorted(every(errors.CascadeError), key=str))
def test_error_class_has_a_one_sentence_meaning(kind: type[Exception]) -> None:
    assert "\n" not in (kind.__doc__ or "\n")
    assert (kind.__doc__ or "").endswith(".")
