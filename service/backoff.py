"""Exponential backoff with jitter: how long to wait before a failed attempt is made again.

The pause doubles with each failure up to a limit. With jitter it is drawn between half of that and
all of it, so that clients that failed together do not return together ("equal jitter" in the AWS
Architecture Blog, "Exponential Backoff and Jitter", 2015). A `Retry-After` is the caller's to add.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

MAX_DOUBLINGS = 30  # keeps the power finite, however long something has been failing


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pauses between the attempts at one thing."""

    first_s: float
    longest_s: float
    jitter: bool = True

    def pause_s(self, failures: int) -> float:
        """The pause after so many failures in a row, at least one."""
        doublings = min(failures - 1, MAX_DOUBLINGS)
        pause = min(self.first_s * 2.0**doublings, self.longest_s)
        if not self.jitter:
            return pause
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - not for cryptography
