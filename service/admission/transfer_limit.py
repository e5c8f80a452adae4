"""A limit on concurrent long transfers of one kind, such as uploads or exports.

A transfer may take hours, so there is no queue: beyond the limit, a transfer is rejected.
"""

from __future__ import annotations

from service.errors import Overloaded

RETRY_AFTER_S = 5.0


class TransferLimit:
    """At most `limit` transfers at once; `kind` is their plural noun in the error."""

    def __init__(self, kind: str, limit: int) -> None:
        self._kind = kind
        self._limit = limit
        self._running = 0

    def begin(self) -> None:
        """Count one more transfer until `end`; raises `Overloaded` beyond the limit."""
        if self._running >= self._limit:
            raise Overloaded(
                f"{self._limit} {self._kind} are running, which is the limit (MAX_TRANSFERS); "
                f"try again in {RETRY_AFTER_S:g} s",
                retry_after=RETRY_AFTER_S,
            )
        self._running += 1

    def end(self) -> None:
        self._running -= 1
