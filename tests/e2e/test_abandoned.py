"""The short form of the campaign that disconnects clients at random moments."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.campaigns.abandon import Outcome, embedded, over_pinecone


@pytest.mark.parametrize("run", [over_pinecone, embedded])
def test_abandoned_requests_leak_nothing(run: Callable[[int, int], Outcome]) -> None:
    outcome = run(400, 1)
    assert outcome.ways.total() == 400
