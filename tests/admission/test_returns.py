"""Who is sent away is told to come back at a time of its own."""

from __future__ import annotations

from collections import Counter

from service.admission.returns import LATEST_S, RETURNS_PER_S, Returns

NOW = 1000.0


def test_one_alone_may_come_back_soon() -> None:
    returns = Returns()
    assert returns.book(NOW) == 1
    assert returns.book(NOW + 60) == 1


def test_a_crowd_is_told_to_come_back_little_by_little() -> None:
    returns = Returns()
    booked = Counter(returns.book(NOW) for _ in range(10 * RETURNS_PER_S))
    assert max(booked.values()) <= RETURNS_PER_S
    assert max(booked) in {10, 11}


def test_nobody_is_told_to_stay_away_for_ever() -> None:
    returns = Returns()
    assert max(returns.book(NOW) for _ in range(100_000)) == LATEST_S
    assert returns.book(NOW + 2 * LATEST_S) == 1
