"""Admission control: a bounded number of slots for requests, and a bounded queue for one.

How many slots there are adapts to the event loop's load (`concurrency_limit`). A request that would
have to queue for too long is rejected at once with `Overloaded`, which says when to try again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable

from service.admission.concurrency_limit import ConcurrencyLimit
from service.admission.loop_monitor import LoopMonitor, LoopSample
from service.admission.queue import AdmissionQueue, Ticket
from service.errors import Overloaded

logger = logging.getLogger(__name__)

UNMONITORED_SLOTS = 16  # with at most as many slots in use, the loop is not monitored
REJECTING_WINDOW_S = 2.0  # after a rejection, more are expected for this long
LOG_INTERVAL_S = 3.0
RETRIES_PER_S = 250
MIN_RETRY_AFTER_S, MAX_RETRY_AFTER_S = 1.0, 30.0


class AdmissionController:
    """At most `max_slots` requests at once, fewer while the event loop is late."""

    def __init__(
        self, max_slots: int, max_queued: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = ConcurrencyLimit(max_slots)
        self.queue = AdmissionQueue(max_queued, clock)
        self.in_use = 0
        self.admitted = self.rejected = 0  # since the start
        self._lent, self._max_lent = 0, max_slots + max_queued
        self._clock = clock
        self._retry_after = RetryAfterSchedule()
        self._monitor = LoopMonitor(self.adapt)
        self._limit_reached = False  # since the last sample
        self._released = 0  # since the last sample
        self._unlogged_rejections = 0
        self._rejected_at = self._logged_at = -math.inf

    @property
    def is_full(self) -> bool:
        """Whether the next request will be rejected."""
        return self.queue.is_full and (len(self.queue) > 0 or self.in_use >= self.limit.current)

    def try_acquire(self) -> bool:
        """Take a slot if one is free and nobody is queued; pair with `release`."""
        if self.queue or self.in_use >= self.limit.current:
            return False
        self.admitted += 1
        self._occupy_slot()
        return True

    def enqueue(self) -> Ticket:
        """Queue for a slot. The ticket becomes True with the slot, False after `leave_queue`.

        Raises `Overloaded` if the queue is full; the ticket fails with it if the wait gets too
        long.
        """
        if self.is_full:
            raise self.reject()
        self._limit_reached = True
        self._monitor.start()
        return self.queue.enqueue()

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot during the block; waits for one, or raises `Overloaded`."""
        if not self.try_acquire():
            ticket = self.enqueue()
            try:
                await ticket
            except BaseException:
                self.abandon(ticket)
                raise
        try:
            yield
        finally:
            self.release()

    def reject(self) -> Overloaded:
        """Count a rejection; returns its error, with the time after which to try again."""
        self._limit_reached = True
        self.rejected += 1
        self._unlogged_rejections += 1
        self._rejected_at = self._clock()
        self._monitor.start()
        seconds = self._retry_after.reserve(self._clock())
        return Overloaded(
            f"The service is overloaded; try again in {seconds} s", retry_after=seconds
        )

    def leave_queue(self, ticket: Ticket) -> None:
        """Resolve a queued ticket to False; no effect if it is no longer queued."""
        if self.queue.remove(ticket) and not ticket.done():
            ticket.set_result(False)

    def abandon(self, ticket: Ticket) -> None:
        """Leave the queue, and release the slot if the ticket got one in the meantime."""
        self.leave_queue(ticket)
        if ticket.done() and not ticket.cancelled() and not ticket.exception() and ticket.result():
            self.release()

    def release(self) -> None:
        self.in_use -= 1
        self._released += 1
        self._admit_queued()

    def lend(self) -> bool:
        """Release a slot until `reclaim`; False if too many are lent already."""
        if self._lent >= self._max_lent:
            return False
        self._lent += 1
        self.release()
        return True

    def reclaim(self, *, needed: bool) -> None:
        """End a loan. A slot that is still needed is occupied even beyond the limit."""
        self._lent -= 1
        if needed:
            self._occupy_slot()

    def close(self) -> None:
        self._monitor.stop()

    def adapt(self, sample: LoopSample) -> bool:
        """Adjust limit and queue to a sample of the loop; returns whether to go on sampling."""
        rejecting = self._clock() < self._rejected_at + REJECTING_WINDOW_S
        self.limit.adapt(
            sample.late_s, sample.busy, reached=self._limit_reached, rejecting=rejecting
        )
        self.queue.record_throughput(self._released / sample.seconds)
        for ticket in self.queue.pop_overdue():
            ticket.set_exception(self.reject())
        self._admit_queued()
        self._limit_reached = len(self.queue) > 0
        self._released = 0
        is_loaded = self.in_use > UNMONITORED_SLOTS or len(self.queue) > 0
        self._log_rejections(at_once=not is_loaded)
        return is_loaded

    def _occupy_slot(self) -> None:
        self.in_use += 1
        if self.in_use > UNMONITORED_SLOTS:
            self._monitor.start()
        if self.in_use >= self.limit.current:
            self._limit_reached = True

    def _admit_queued(self) -> None:
        while self.in_use < self.limit.current and (ticket := self.queue.pop()) is not None:
            ticket.set_result(True)
            self.admitted += 1
            self._occupy_slot()

    def _log_rejections(self, *, at_once: bool) -> None:
        """Log the number of rejections once per interval, not one line for each."""
        if self._unlogged_rejections and (
            at_once or self._clock() > self._logged_at + LOG_INTERVAL_S
        ):
            logger.warning("overloaded: rejected %d requests", self._unlogged_rejections)
            self._logged_at, self._unlogged_rejections = self._clock(), 0


class RetryAfterSchedule:
    """Chooses the `Retry-After` of rejected requests, so that they do not all return at once.

    Each rejection reserves the next free slot in a schedule of `RETRIES_PER_S`. The more requests
    are rejected, the later they are asked to return, which bounds the cost of rejecting them again.
    """

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0.0

    def reserve(self, now: float) -> int:
        """Reserve a point in time; returns the whole seconds until then."""
        self._next = max(self._next + 1 / RETRIES_PER_S, now + MIN_RETRY_AFTER_S)
        self._next = min(self._next, now + MAX_RETRY_AFTER_S)
        return math.ceil(round(self._next - now, 6))
