"""The short form of the campaign that disconnects clients at random moments."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.campaigns.abandon import Toll, embedded, over_pinecone


@pytest.mark.parametrize("run", [over_pinecone, embedded])
def test_abandoned_requests_leak_nothing(run: Callable[[int, int], Toll]) -> None:
    toll = run(400, 1)
    assert toll.ways.total() == 400
