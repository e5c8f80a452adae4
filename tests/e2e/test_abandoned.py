"""Clients that hang up at any moment leave nothing behind: the campaign, in small."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.campaigns.abandon import Toll, embedded, over_pinecone


@pytest.mark.parametrize("run", [over_pinecone, embedded])
def test_abandoned_requests_leave_nothing_behind(run: Callable[[int, int], Toll]) -> None:
    toll = run(400, 1)
    assert toll.ways.total() == 400
