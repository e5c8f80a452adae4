"""How many long transfers of one kind go on at once. Who comes then is sent away.

Nobody waits in a line for it: one may take hours. Knows nothing of what is transferred.
"""

from __future__ import annotations

from service.errors import Overloaded

RETRY_S = 5.0


class Transfers:
    """At most `most` of them; `what` they are called."""

    def __init__(self, what: str, most: int) -> None:
        self._what = what
        self._most = most
        self._going_on = 0

    def begin(self) -> None:
        """One more, until `end`. `Overloaded` where there are enough."""
        if self._going_on >= self._most:
            raise Overloaded(
                f"As many {self._what} go on here as are let in at once ({self._most}, "
                f"MAX_TRANSFERS); try again in {RETRY_S:g} s",
                retry_after=RETRY_S,
            )
        self._going_on += 1

    def end(self) -> None:
        self._going_on -= 1
