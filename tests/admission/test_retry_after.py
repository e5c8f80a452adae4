"""`Retry-After` values are spread over time."""

from __future__ import annotations

from collections import Counter

from service.admission.controller import MAX_RETRY_AFTER_S, RETRIES_PER_S, RetryAfterSchedule

NOW = 1000.0


def test_retry_after_of_single_rejection_is_minimum() -> None:
    schedule = RetryAfterSchedule()
    assert schedule.reserve(NOW) == 1
    assert schedule.reserve(NOW + 60) == 1


def test_retry_after_spreads_many_rejections() -> None:
    schedule = RetryAfterSchedule()
    booked = Counter(schedule.reserve(NOW) for _ in range(10 * RETRIES_PER_S))
    assert max(booked.values()) <= RETRIES_PER_S
    assert max(booked) in {10, 11}


def test_retry_after_has_maximum() -> None:
    schedule = RetryAfterSchedule()
    assert max(schedule.reserve(NOW) for _ in range(100_000)) == MAX_RETRY_AFTER_S
    assert schedule.reserve(NOW + 2 * MAX_RETRY_AFTER_S) == 1
