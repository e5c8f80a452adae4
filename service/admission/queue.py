"""A first-in, first-out queue for slots, bounded in length and in waiting time.

The queue measures how fast it moves. While the expected wait is longer than `TARGET_WAIT_S`, it
counts as full.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator

TARGET_WAIT_S = 1.0
MAX_WAIT_S = 5.0  # for a ticket whose queue moves slower than expected

Ticket = asyncio.Future[bool]


class AdmissionQueue:
    """Tickets in order of arrival, at most `max_length` of them."""

    def __init__(self, max_length: int, clock: Callable[[], float]) -> None:
        self._max_length = max_length
        self._clock = clock
        self._tickets: OrderedDict[Ticket, float] = OrderedDict()
        self._served_per_s = self._assumed_per_s = max_length / TARGET_WAIT_S

    def __len__(self) -> int:
        return len(self._tickets)

    @property
    def is_full(self) -> bool:
        return len(self) >= min(self._max_length, self._served_per_s * TARGET_WAIT_S)

    def enqueue(self) -> Ticket:
        ticket: Ticket = asyncio.get_running_loop().create_future()
        self._tickets[ticket] = self._clock()
        return ticket

    def remove(self, ticket: Ticket) -> bool:
        """Returns whether the ticket was in the queue."""
        return self._tickets.pop(ticket, None) is not None

    def pop(self) -> Ticket | None:
        """Remove and return the oldest ticket that is not cancelled."""
        while self._tickets:
            ticket, _ = self._tickets.popitem(last=False)
            if not ticket.done():
                return ticket
        return None

    def pop_overdue(self) -> Iterator[Ticket]:
        """Remove and yield the tickets that have waited for `MAX_WAIT_S`."""
        while self._tickets:
            ticket, since = next(iter(self._tickets.items()))
            if since + MAX_WAIT_S > self._clock():
                return
            del self._tickets[ticket]
            if not ticket.done():
                yield ticket

    def record_throughput(self, served_per_s: float) -> None:
        """Update the moving average; an empty queue says nothing about the possible throughput."""
        seen = served_per_s if self._tickets else self._assumed_per_s
        self._served_per_s += (seen - self._served_per_s) / 8
