"""The places at which requests are worked on: who gets one, who waits, who is sent away.

Knows nothing of what a request is.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable

from service.admission.limit import Limit
from service.admission.line import Line, Turn
from service.admission.pulse import Beat, Pulse
from service.admission.returns import Returns
from service.errors import Overloaded

logger = logging.getLogger(__name__)

QUIET = 16  # so few at work need no watching
REFUSING_S = 2.0  # after a refusal, others are expected
TELL_S = 3.0  # between two lines of the log


class Places:
    """`highest` of them at most, fewer while there is no time for so many."""

    def __init__(
        self, highest: int, longest_line: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = Limit(highest)
        self.line = Line(longest_line, clock)
        self.taken = 0
        self.begun = 0  # in all
        self._lent, self._most_lent = 0, highest + longest_line
        self._clock = clock
        self._returns = Returns()
        self._pulse = Pulse(self.adapt)
        self._reached = False  # since the last beat, like the next one
        self._given_back = 0
        self._refused = 0  # and not yet told
        self._refused_at = self._told_at = -math.inf

    @property
    def full(self) -> bool:
        """Whether whoever comes now is sent away."""
        return self.line.full and (len(self.line) > 0 or self.taken >= self.limit.now)

    def take(self) -> bool:
        """Take a place if there is one; whoever got one has to give it back."""
        if self.line or self.taken >= self.limit.now:
            return False
        self.begun += 1
        self._take()
        return True

    def line_up(self) -> Turn:
        """Wait for a place: it is True when there is one, False after `leave`.

        Raises `Overloaded`, or ends in it, if that would take too long.
        """
        if self.full:
            raise self.refuse()
        self._reached = True
        self._pulse.start()
        return self.line.join()

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """A place for as long as the block takes; waits for one, or raises `Overloaded`."""
        if not self.take():
            turn = self.line_up()
            try:
                await turn
            except BaseException:
                self.give_up(turn)
                raise
        try:
            yield
        finally:
            self.give_back()

    def refuse(self) -> Overloaded:
        """The error of one who is sent away, with a time to come back."""
        self._reached = True
        self._refused += 1
        self._refused_at = self._clock()
        self._pulse.start()
        seconds = self._returns.book(self._clock())
        return Overloaded(
            f"More is asked of this service than it can answer just now; try again in {seconds} s",
            retry_after=seconds,
        )

    def leave(self, turn: Turn) -> None:
        """Whoever waits goes away; it makes no difference for one who waits no more."""
        if self.line.leave(turn) and not turn.done():
            turn.set_result(False)

    def give_up(self, turn: Turn) -> None:
        """Go away, and give the place back if there was one in the last moment."""
        self.leave(turn)
        if turn.done() and not turn.cancelled() and not turn.exception() and turn.result():
            self.give_back()

    def give_back(self) -> None:
        self.taken -= 1
        self._given_back += 1
        self._let_in()

    def lend(self) -> bool:
        """Give a place back for a while, unless too many are lent already."""
        if self._lent >= self._most_lent:
            return False
        self._lent += 1
        self.give_back()
        return True

    def take_back(self, *, needed: bool) -> None:
        """The while is over: if the place is still needed, it is taken, with or without room."""
        self._lent -= 1
        if needed:
            self._take()

    def close(self) -> None:
        self._pulse.stop()

    def adapt(self, beat: Beat) -> bool:
        """After each beat of the pulse; whether there is any need for another one."""
        refusing = self._clock() < self._refused_at + REFUSING_S
        self.limit.adapt(beat.late_s, beat.busy, reached=self._reached, refusing=refusing)
        self.line.watch(self._given_back / beat.seconds)
        for turn in self.line.overdue():
            turn.set_exception(self.refuse())
        self._let_in()
        self._reached = len(self.line) > 0
        self._given_back = 0
        at_work = self.taken > QUIET or len(self.line) > 0
        self._tell(at_once=not at_work)
        return at_work

    def _take(self) -> None:
        self.taken += 1
        if self.taken > QUIET:
            self._pulse.start()
        if self.taken >= self.limit.now:
            self._reached = True

    def _let_in(self) -> None:
        while self.taken < self.limit.now and (turn := self.line.first()) is not None:
            turn.set_result(True)
            self.begun += 1
            self._take()

    def _tell(self, *, at_once: bool) -> None:
        """Say how many were sent away: once in a while, not for each of them."""
        if self._refused and (at_once or self._clock() > self._told_at + TELL_S):
            logger.warning("too much is asked: %d sent away", self._refused)
            self._told_at, self._refused = self._clock(), 0
