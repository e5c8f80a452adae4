"""An index after any operations, compared with a dictionary and brute force."""

from __future__ import annotations

from collections import Counter

from tests.campaigns.index import run

SEQUENCES, LONGEST = 60, 8  # `make campaign-index` runs thousands


def test_index_behaves_like_dictionary_model() -> None:
    done: Counter[str] = Counter()
    run(SEQUENCES, LONGEST, done, shrink=False)  # shrinking may take longer than a test has
    assert done["sequences"] >= SEQUENCES
