"""As many requests at once as there is time for, found out from what the event loop is like."""

from __future__ import annotations

from service.admission.limit import AT_FIRST, LOWEST, Limit

LATE, A_LITTLE_LATE, ON_TIME = 0.1, 0.002, 0.0
BUSY, IDLE = 1.0, 0.5


def after(limit: Limit, beats: int, late_s: float, busy: float, **seen: bool) -> int:
    """What the limit is when the loop was like this for so many beats."""
    for _ in range(beats):
        limit.adapt(late_s, busy, **({"reached": True, "refusing": False} | seen))
    return limit.now


def test_while_a_busy_loop_is_late_fewer_are_let_in_but_never_too_few() -> None:
    limit = Limit(256)
    assert LOWEST < after(limit, 1, LATE, BUSY) < AT_FIRST
    assert after(limit, 100, LATE, BUSY) == LOWEST


def test_a_slow_upstream_and_an_idle_loop_fill_all_places() -> None:
    assert after(Limit(256), 20, ON_TIME, IDLE) == 256


def test_a_loop_that_is_late_because_of_other_processes_is_no_reason_to_let_fewer_in() -> None:
    assert after(Limit(256), 1, LATE, IDLE) > AT_FIRST


def test_a_limit_that_is_in_nobodys_way_stays_what_it_is() -> None:
    assert after(Limit(256), 20, ON_TIME, IDLE, reached=False) == AT_FIRST


def test_while_some_are_sent_away_the_loop_has_to_be_quicker() -> None:
    assert after(Limit(256), 1, A_LITTLE_LATE, BUSY) > AT_FIRST
    assert after(Limit(256), 1, A_LITTLE_LATE, BUSY, refusing=True) < AT_FIRST


def test_a_small_limit_is_kept() -> None:
    limit = Limit(3)
    assert limit.now == 3
    assert after(limit, 10, LATE, BUSY) == 3
    assert after(limit, 10, ON_TIME, IDLE) == 3
