"""Whatever is done to an index, it answers as a dictionary and brute force do."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.campaigns.index import run

SEQUENCES, LONGEST = 1_000, 8


@pytest.mark.timeout(400)
def test_an_index_answers_as_a_dictionary_does() -> None:
    done: Counter[str] = Counter()
    run(SEQUENCES, LONGEST, done)
    assert done["sequences"] >= SEQUENCES
