"""How long to wait before the next attempt."""

from __future__ import annotations

from service.backoff import Backoff


def test_backoff_doubles_up_to_its_limit() -> None:
    backoff = Backoff(0.5, 5.0, jitter=False)
    assert [backoff.pause_s(failures) for failures in range(1, 7)] == [0.5, 1, 2, 4, 5, 5]


def test_backoff_stays_finite_however_often_it_failed() -> None:
    assert Backoff(0.5, 5.0, jitter=False).pause_s(100_000) == 5.0


def test_backoff_with_jitter_is_between_half_and_all_of_the_pause() -> None:
    pauses = {Backoff(1.0, 8.0).pause_s(3) for _ in range(200)}
    assert all(2.0 <= pause <= 4.0 for pause in pauses)
    assert len(pauses) > 100
