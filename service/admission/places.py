"""The places at which requests are worked on, and the line of those who wait for one.

First come, first served; the line is bounded in length and in time, and who could only wait for
too long is sent away at once. Knows nothing of what a request is.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from service.admission.limit import Limit
from service.admission.pulse import Beat, Pulse
from service.admission.returns import Returns
from service.errors import Overloaded

LONGEST_WAIT_S = 1.0  # that somebody is let into the line for
GIVE_UP_S = 2.0  # after which nobody is left in it, if it moves slower than it did
QUIET = 16  # so few at work need no measuring

Turn = asyncio.Future[bool]


class Places:
    """`highest` of them at most, fewer while there is no time for so many."""

    def __init__(
        self, highest: int, longest_line: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = Limit(highest)
        self.taken = 0
        self._longest_line = longest_line
        self._line: OrderedDict[Turn, float] = OrderedDict()
        self._returns = Returns()
        self._clock = clock
        self._pulse = Pulse(self.adapt)
        self._reached = False
        self._left = 0  # since the last beat
        self._leave_per_s = self._fast = longest_line / LONGEST_WAIT_S

    @property
    def waiting(self) -> int:
        return len(self._line)

    def take(self) -> bool:
        """Take a place if there is one; whoever got one has to give it back."""
        if self._line or self.taken >= self.limit.now:
            return False
        self._take()
        return True

    def line_up(self) -> Turn:
        """Wait for a place: it is True when there is one, False after `leave`.

        Raises `Overloaded`, or ends in it, if that would take too long.
        """
        self._reached = True
        length = len(self._line)
        if length >= min(self._longest_line, self._leave_per_s * LONGEST_WAIT_S):
            raise self._overloaded()
        turn: Turn = asyncio.get_running_loop().create_future()
        self._line[turn] = self._clock()
        self._pulse.start()
        return turn

    def leave(self, turn: Turn) -> None:
        """Whoever waited goes away, or has given up the place that it was just given."""
        if self._line.pop(turn, None) is not None:
            if not turn.done():
                turn.set_result(False)
        elif not turn.cancelled() and turn.exception() is None and turn.result():
            self.give_back()

    def give_back(self) -> None:
        self.taken -= 1
        self._left += 1
        self._let_in()

    def take_back(self) -> None:
        """What was given back for a while is needed again, whether or not there is room."""
        self._take()

    def close(self) -> None:
        self._pulse.stop()

    def adapt(self, beat: Beat) -> bool:
        """After each beat of the pulse; whether there is any need for another one."""
        self.limit.adapt(beat.late_s, reached=self._reached)
        leave_per_s = self._left / beat.seconds if self._line else self._fast
        self._leave_per_s += (leave_per_s - self._leave_per_s) / 8
        self._send_away(self._clock() - GIVE_UP_S)
        self._let_in()
        self._reached = bool(self._line)
        self._left = 0
        return self.taken > QUIET or bool(self._line)

    def _take(self) -> None:
        self.taken += 1
        if self.taken > QUIET:
            self._pulse.start()
        if self.taken >= self.limit.now:
            self._reached = True

    def _let_in(self) -> None:
        while self._line and self.taken < self.limit.now:
            turn, _ = self._line.popitem(last=False)
            if not turn.done():  # a waiter that was cancelled is still to leave
                turn.set_result(True)
                self._take()

    def _send_away(self, before: float) -> None:
        """Those who have waited since `before`, and should not have been let into the line."""
        while self._line:
            turn, since = next(iter(self._line.items()))
            if since > before:
                return
            del self._line[turn]
            if not turn.done():
                turn.set_exception(self._overloaded())

    def _overloaded(self) -> Overloaded:
        seconds = self._returns.book(self._clock())
        return Overloaded(
            f"More is asked of this service than it can answer just now; try again in {seconds} s",
            retry_after=seconds,
        )
