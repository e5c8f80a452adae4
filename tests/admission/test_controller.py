"""Slots, the queue for them, and rejections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.admission.controller import LOG_INTERVAL_S, AdmissionController
from service.admission.loop_monitor import LoopSample
from service.admission.queue import MAX_WAIT_S, AdmissionQueue, Ticket
from service.errors import Overloaded
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def controller(clock: Clock) -> AdmissionController:
    """Two slots, and a queue of three."""
    return AdmissionController(2, 3, clock)


@pytest.fixture(autouse=True)
def stop_monitor(controller: AdmissionController) -> Iterator[None]:
    """The tests take samples themselves."""
    yield
    controller.close()


def fill(controller: AdmissionController) -> list[Ticket]:
    """Occupies all slots and fills the queue."""
    while controller.try_acquire():
        pass
    return [controller.enqueue() for _ in range(3)]


def sample(seconds: float = 0.1) -> LoopSample:
    return LoopSample(seconds, late_s=0.0, busy=0.5)


async def test_queue_admits_in_order_of_arrival(
    controller: AdmissionController,
) -> None:
    first, second, _ = fill(controller)
    controller.release()
    assert await first is True
    assert not second.done()
    controller.release()
    assert await second is True


async def test_try_acquire_does_not_overtake_queue(controller: AdmissionController) -> None:
    fill(controller)
    controller.in_use = 1
    assert controller.try_acquire() is False


async def test_enqueue_beyond_length_raises_overloaded(
    controller: AdmissionController,
) -> None:
    assert not controller.is_full
    fill(controller)
    assert controller.is_full
    with pytest.raises(Overloaded) as rejected:
        controller.enqueue()
    assert rejected.value.retry_after == 1
    assert "try again in 1 s" in rejected.value.detail


async def test_ticket_that_left_queue_is_skipped(controller: AdmissionController) -> None:
    first, second, _ = fill(controller)
    controller.leave_queue(first)
    assert await first is False
    controller.release()
    assert await second is True


async def test_abandoned_ticket_with_slot_releases_it(
    controller: AdmissionController,
) -> None:
    first, second, _ = fill(controller)
    controller.release()
    controller.abandon(first)  # admitted and cancelled at the same moment
    assert await second is True
    assert controller.in_use == 2


async def test_leave_queue_has_no_effect_after_admission(
    controller: AdmissionController,
) -> None:
    first, second, _ = fill(controller)
    controller.release()
    controller.leave_queue(first)
    assert await first is True
    assert not second.done()
    assert controller.in_use == 2


async def test_cancelled_ticket_takes_no_slot(
    controller: AdmissionController,
) -> None:
    first, second, _ = fill(controller)
    first.cancel()
    controller.release()
    assert await second is True
    controller.abandon(first)
    assert controller.in_use == 2


async def test_stalled_queue_rejects_new_and_overdue_tickets(
    controller: AdmissionController, clock: Clock
) -> None:
    while controller.try_acquire():
        pass
    ticket = controller.enqueue()
    for _ in range(20):
        controller.adapt(sample())
    with pytest.raises(Overloaded):
        controller.enqueue()
    clock.now += MAX_WAIT_S
    controller.adapt(sample())
    with pytest.raises(Overloaded):
        await ticket
    assert len(controller.queue) == 0


async def test_queue_is_full_when_expected_wait_exceeds_target(clock: Clock) -> None:
    """Until the throughput is known, only the maximum length counts."""
    queue = AdmissionQueue(10, clock)
    for _ in range(5):
        queue.enqueue()
    assert not queue.is_full
    for _ in range(50):
        queue.record_throughput(3.5)
    assert queue.is_full
    queue.pop()
    queue.pop()
    assert not queue.is_full
    for _ in range(50):
        queue.pop()
        queue.record_throughput(0)
    assert not queue.is_full


async def test_raised_limit_admits_queued_tickets(clock: Clock) -> None:
    controller = AdmissionController(100, 100, clock)
    while controller.try_acquire():
        pass
    ticket = controller.enqueue()
    controller.adapt(sample())
    assert await ticket is True
    controller.close()


async def test_lent_slot_admits_another_until_reclaimed(
    controller: AdmissionController,
) -> None:
    first, *_ = fill(controller)
    assert controller.lend()
    assert await first is True
    controller.reclaim(needed=True)
    assert controller.in_use == 3
    controller.release()
    assert controller.in_use == 2


async def test_lend_is_bounded(controller: AdmissionController) -> None:
    lent = 0
    while controller.try_acquire() and controller.lend():
        lent += 1
    assert lent == 5
    controller.reclaim(needed=False)
    assert controller.lend()


async def test_sampling_stops_when_load_is_gone(
    controller: AdmissionController,
) -> None:
    fill(controller)
    assert controller.adapt(sample()) is True
    for _ in range(5):
        controller.release()
    assert controller.adapt(sample()) is False
    assert controller.in_use == 0


async def test_rejections_are_logged_together(
    controller: AdmissionController, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    fill(controller)
    for _ in range(3):
        controller.reject()
        controller.adapt(sample())
    clock.now += LOG_INTERVAL_S + 1
    controller.adapt(sample())
    assert [record.getMessage() for record in caplog.records] == [
        "overloaded: rejected 1 requests",
        "overloaded: rejected 2 requests",
    ]
