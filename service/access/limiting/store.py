"""The interface of a limit store: what each caller has used of its rate and of its quota.

The rate is limited by GCRA, the generic cell rate algorithm (ITU-T I.371): a caller has a *backlog*
in seconds, which every request raises by the rate's interval and which runs down with time. A
request that would raise it above `capacity` intervals is refused. This is a token bucket whose only
state is the time at which the backlog ends, the theoretical arrival time.

No method raises, and none takes long: a store that is out of reach is replaced by the memory of
this process.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from service.access.limits import Quota, Rate, Resource, Usage

TOLERANCE = 0.001  # of a request: sums of fractions are not exact


class CallerLimits(NamedTuple):
    """The limits of one caller, which all of its requests share."""

    caller: str
    rate: Rate | None
    quota: Quota | None


class LimitState(NamedTuple):
    """What was refused, if anything, the caller's backlog, and what it has used today."""

    refused: Literal["requests"] | Resource | None
    backlog_s: float
    used: Usage


class LimitStore(Protocol):
    async def open(self, scope: str) -> None:
        """`scope` names what is searched; services of other scopes count for themselves."""

    async def close(self) -> None: ...

    async def take(self, limits: CallerLimits, usage: Usage) -> LimitState:
        """Count all of the usage if all of it is within the limits, or else nothing.

        A quota that is used up refuses every usage, even if that has none of its resource.
        """
        ...

    def add(self, limits: CallerLimits, usage: Usage) -> None:
        """Count what was used or is given back, whether it is within the limits or not."""
