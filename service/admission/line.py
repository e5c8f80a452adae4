"""Those who wait for a place: first come, first served, and not for longer than they should.

Bounded in length, and in time: how fast it moves is watched, and while the last one could only wait
for too long, nobody is let into it any more. Knows nothing of places.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator

LONGEST_WAIT_S = 1.0  # to be expected by whoever is let in
GIVE_UP_S = 5.0  # where it moves slower than was to be expected

Turn = asyncio.Future[bool]


class Line:
    """`longest` is how many may wait."""

    def __init__(self, longest: int, clock: Callable[[], float]) -> None:
        self._longest = longest
        self._clock = clock
        self._turns: OrderedDict[Turn, float] = OrderedDict()
        self._served_per_s = self._unknown = longest / LONGEST_WAIT_S

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def full(self) -> bool:
        return len(self) >= min(self._longest, self._served_per_s * LONGEST_WAIT_S)

    def join(self) -> Turn:
        turn: Turn = asyncio.get_running_loop().create_future()
        self._turns[turn] = self._clock()
        return turn

    def leave(self, turn: Turn) -> bool:
        """Whether it was in there at all."""
        return self._turns.pop(turn, None) is not None

    def first(self) -> Turn | None:
        """The one whose turn it is, who is then no longer in the line."""
        while self._turns:
            turn, _ = self._turns.popitem(last=False)
            if not turn.done():  # or else it was cancelled, and has not left yet
                return turn
        return None

    def overdue(self) -> Iterator[Turn]:
        """Those who have waited for too long; they are taken out."""
        while self._turns:
            turn, since = next(iter(self._turns.items()))
            if since + GIVE_UP_S > self._clock():
                return
            del self._turns[turn]
            if not turn.done():
                yield turn

    def watch(self, served_per_s: float) -> None:
        """Take in how many were served; nobody knows what is possible while nobody waits."""
        seen = served_per_s if self._turns else self._unknown
        self._served_per_s += (seen - self._served_per_s) / 8
