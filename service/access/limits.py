"""How much a key may use: requests per period, and units per day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
RATE = re.compile(r"([1-9][0-9]{0,8})/([smhd])(?: burst=([1-9][0-9]{0,8}))?")

Resource = Literal["read_units", "records", "bytes"]
RESOURCES: tuple[Resource, ...] = ("read_units", "records", "bytes")


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` requests in each period of `seconds`, and at most `burst` of them at once.

    Without a burst, all requests of a period may come at once.
    """

    count: int
    seconds: int
    burst: int | None = None

    @property
    def capacity(self) -> int:
        """The most requests at once."""
        return self.burst or self.count

    @property
    def interval_s(self) -> float:
        """The time after which one more request is allowed."""
        return self.seconds / self.count

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in SECONDS.items() if seconds == self.seconds)
        burst = f" burst={self.burst}" if self.burst else ""
        return f"{self.count}/{unit}{burst}"


@dataclass(frozen=True, slots=True)
class Quota:
    """Amounts per day in UTC. None is unlimited."""

    read_units: int | None = None
    records: int | None = None
    bytes: int | None = None


class Usage(NamedTuple):
    """What was used. A fraction of a request is one that costs less; negative gives back."""

    requests: float = 0
    read_units: int = 0
    records: int = 0
    bytes: int = 0


def parse_rate(text: str) -> Rate:
    """A rate such as `5/s`, `100/m` or `5/s burst=20`; raises `ValueError`."""
    match = RATE.fullmatch(text)
    if match is None:
        raise ValueError(
            "a rate is a number and a period, such as 5/s, 100/m, 1000/h or 10000/d, and may have "
            "a burst, such as 5/s burst=20"
        )
    return Rate(int(match[1]), SECONDS[match[2]], int(match[3]) if match[3] else None)
