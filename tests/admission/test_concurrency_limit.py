"""The limit adapts to samples of the event loop."""

from __future__ import annotations

from service.admission.concurrency_limit import INITIAL_LIMIT, MIN_LIMIT, ConcurrencyLimit

LATE, A_LITTLE_LATE, ON_TIME = 0.1, 0.002, 0.0
BUSY, IDLE = 1.0, 0.5


def after(limit: ConcurrencyLimit, samples: int, late_s: float, busy: float, **seen: bool) -> int:
    """Returns the limit after so many equal samples."""
    for _ in range(samples):
        limit.adapt(late_s, busy, **({"reached": True, "rejecting": False} | seen))
    return limit.current


def test_late_busy_loop_lowers_limit_to_minimum() -> None:
    limit = ConcurrencyLimit(256)
    assert MIN_LIMIT < after(limit, 1, LATE, BUSY) < INITIAL_LIMIT
    assert after(limit, 100, LATE, BUSY) == MIN_LIMIT


def test_idle_loop_raises_reached_limit_to_maximum() -> None:
    assert after(ConcurrencyLimit(256), 20, ON_TIME, IDLE) == 256


def test_late_idle_loop_does_not_lower_limit() -> None:
    assert after(ConcurrencyLimit(256), 1, LATE, IDLE) > INITIAL_LIMIT


def test_unreached_limit_is_unchanged() -> None:
    assert after(ConcurrencyLimit(256), 20, ON_TIME, IDLE, reached=False) == INITIAL_LIMIT


def test_latency_threshold_is_lower_while_rejecting() -> None:
    assert after(ConcurrencyLimit(256), 1, A_LITTLE_LATE, BUSY) > INITIAL_LIMIT
    assert after(ConcurrencyLimit(256), 1, A_LITTLE_LATE, BUSY, rejecting=True) < INITIAL_LIMIT


def test_limit_below_minimum_is_unchanged() -> None:
    limit = ConcurrencyLimit(3)
    assert limit.current == 3
    assert after(limit, 10, LATE, BUSY) == 3
    assert after(limit, 10, ON_TIME, IDLE) == 3
