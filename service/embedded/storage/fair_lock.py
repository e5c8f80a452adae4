"""A lock that is given in the order in which it was asked for.

Knows nothing of what it guards. A plain lock may be taken again and again by a thread that loops
over it, while another one waits: a bulk load would then stop every search until it is done.
"""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class FairLock:
    """`with turns:` waits for those who came before, and for nobody else."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False

    def __enter__(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            called = threading.Lock()
            called.acquire()
            self._waiting.append(called)
        called.acquire()  # released by the one before, who passes the turn on

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
