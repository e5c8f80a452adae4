"""Who gets a place, who waits for one, who is sent away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.admission.line import GIVE_UP_S, Line, Turn
from service.admission.places import TELL_S, Places
from service.admission.pulse import Beat
from service.errors import Overloaded
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def places(clock: Clock) -> Places:
    """Two, and three may wait."""
    return Places(2, 3, clock)


@pytest.fixture(autouse=True)
def no_pulse(places: Places) -> Iterator[None]:
    """The tests beat."""
    yield
    places.close()


def fill(places: Places) -> list[Turn]:
    """All places taken, all of the line waiting."""
    while places.take():
        pass
    return [places.line_up() for _ in range(3)]


def beat(seconds: float = 0.1) -> Beat:
    return Beat(seconds, late_s=0.0, busy=0.5)


async def test_the_first_who_waits_is_the_first_who_is_let_in(places: Places) -> None:
    first, second, _ = fill(places)
    places.give_back()
    assert await first is True
    assert not second.done()
    places.give_back()
    assert await second is True


async def test_nobody_passes_those_who_wait(places: Places) -> None:
    fill(places)
    places.taken = 1
    assert places.take() is False


async def test_beyond_the_line_is_nothing(places: Places) -> None:
    assert not places.full
    fill(places)
    assert places.full
    with pytest.raises(Overloaded) as refused:
        places.line_up()
    assert refused.value.retry_after == 1
    assert "try again in 1 s" in refused.value.detail


async def test_whoever_leaves_is_passed_over(places: Places) -> None:
    first, second, _ = fill(places)
    places.leave(first)
    assert await first is False
    places.give_back()
    assert await second is True


async def test_a_place_that_came_too_late_for_somebody_goes_to_the_next(places: Places) -> None:
    first, second, _ = fill(places)
    places.give_back()
    places.give_up(first)  # who was let in, and was cancelled at the same moment
    assert await second is True
    assert places.taken == 2


async def test_whoever_was_let_in_can_not_leave_the_line_any_more(places: Places) -> None:
    first, second, _ = fill(places)
    places.give_back()
    places.leave(first)
    assert await first is True
    assert not second.done()
    assert places.taken == 2


async def test_whoever_was_cancelled_while_waiting_takes_no_place(places: Places) -> None:
    first, second, _ = fill(places)
    first.cancel()
    places.give_back()
    assert await second is True
    places.give_up(first)
    assert places.taken == 2


async def test_a_line_that_does_not_move_is_not_made_longer_and_has_an_end(
    places: Places, clock: Clock
) -> None:
    while places.take():
        pass
    turn = places.line_up()
    for _ in range(20):
        places.adapt(beat())
    with pytest.raises(Overloaded):
        places.line_up()
    clock.now += GIVE_UP_S
    places.adapt(beat())
    with pytest.raises(Overloaded):
        await turn
    assert len(places.line) == 0


async def test_a_line_is_as_long_as_it_moves_in_a_second(clock: Clock) -> None:
    """And as long as it may be at all, where nobody knows yet how fast it moves."""
    line = Line(10, clock)
    for _ in range(5):
        line.join()
    assert not line.full
    for _ in range(50):
        line.watch(3.5)
    assert line.full
    line.first()
    line.first()
    assert not line.full
    for _ in range(50):
        line.first()
        line.watch(0)
    assert not line.full


async def test_more_places_are_for_those_who_wait(clock: Clock) -> None:
    places = Places(100, 100, clock)
    while places.take():
        pass
    turn = places.line_up()
    places.adapt(beat())
    assert await turn is True
    places.close()


async def test_a_lent_place_is_somebody_elses_until_it_is_needed_again(places: Places) -> None:
    first, *_ = fill(places)
    assert places.lend()
    assert await first is True
    places.take_back(needed=True)
    assert places.taken == 3
    places.give_back()
    assert places.taken == 2


async def test_not_everything_can_be_lent(places: Places) -> None:
    lent = 0
    while places.take() and places.lend():
        lent += 1
    assert lent == 5
    places.take_back(needed=False)
    assert places.lend()


async def test_it_is_looked_at_only_while_there_is_something_to_see(places: Places) -> None:
    fill(places)
    assert places.adapt(beat()) is True
    for _ in range(5):
        places.give_back()
    assert places.adapt(beat()) is False
    assert places.taken == 0


async def test_refusals_are_told_together(
    places: Places, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    fill(places)
    for _ in range(3):
        places.refuse()
        places.adapt(beat())
    clock.now += TELL_S + 1
    places.adapt(beat())
    assert [record.getMessage() for record in caplog.records] == [
        "too much is asked: 1 sent away",
        "too much is asked: 2 sent away",
    ]
