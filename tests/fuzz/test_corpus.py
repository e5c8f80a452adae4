"""The inputs that `make fuzz` has found crash no parser."""

from __future__ import annotations

import pytest

from tests.fuzz import corpus
from tests.fuzz.parsers import PARSERS


@pytest.mark.parametrize("name", PARSERS)
def test_parser_survives_inputs_of_corpus(name: str) -> None:
    inputs = corpus.load(name)
    assert inputs, f"make fuzz ARGS={name} makes the corpus"
    for each in inputs:
        try:
            PARSERS[name](each)
        except Exception as exc:
            raise AssertionError(f"{name} crashes on {each!r}") from exc
