"""How much a key may use: requests per second, and units per day."""

from __future__ import annotations

import re
from dataclasses import dataclass

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
RATE = re.compile(r"([1-9][0-9]{0,8})/([smhd])")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` requests in each period of `seconds`."""

    count: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Quota:
    """Amounts per day in UTC. None is unlimited."""

    read_units: int | None = None
    records: int | None = None
    bytes: int | None = None


def parse_rate(text: str) -> Rate:
    """A rate such as `5/s`, `100/m` or `10000/d`; raises `ValueError`."""
    match = RATE.fullmatch(text)
    if match is None:
        raise ValueError("a rate is a number and a period, such as 5/s, 100/m, 1000/h or 10000/d")
    return Rate(int(match[1]), SECONDS[match[2]])
