"""A limit store in memory, for a bounded number of callers. Each process counts for itself."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from service.access.limiting.store import TOLERANCE, CallerLimits, LimitState
from service.access.limits import RESOURCES, Quota, Resource, Usage

MAX_CALLERS = 50_000  # the one that was seen last longest ago is forgotten first
DAY_S = 86_400
NOTHING = Usage()
ValueT = TypeVar("ValueT")


def today() -> int:
    """The number of the day in UTC."""
    return int(time.time()) // DAY_S


class MemoryLimitStore:
    def __init__(
        self,
        max_callers: int = MAX_CALLERS,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], int] = today,
    ) -> None:
        self._max_callers = max_callers
        self._clock = clock
        self._today = today
        self._arrivals: OrderedDict[str, float] = OrderedDict()  # theoretical arrival times
        self._used: OrderedDict[str, tuple[int, Usage]] = OrderedDict()  # in which day

    async def open(self, scope: str) -> None:
        """No-op: a process has one scope."""

    async def close(self) -> None:
        """No-op."""

    async def take(self, limits: CallerLimits, usage: Usage) -> LimitState:
        return self.take_now(limits, usage)

    def take_now(self, limits: CallerLimits, usage: Usage) -> LimitState:
        """`take`, without a task switch."""
        backlog_s, used = 0.0, NOTHING
        if (rate := limits.rate) is not None:
            backlog_s = self._backlog_s(limits)
            allowed = rate.capacity - usage.requests + TOLERANCE
            if usage.requests and backlog_s > allowed * rate.interval_s:
                return LimitState("requests", backlog_s, used)
        if limits.quota is not None:
            used = self._used_today(limits.caller)
            if (refused := exceeded(limits.quota, used, usage)) is not None:
                return LimitState(refused, backlog_s, used)
        return self._count(limits, usage, backlog_s, used)

    def add(self, limits: CallerLimits, usage: Usage) -> None:
        backlog_s = self._backlog_s(limits) if limits.rate is not None else 0.0
        used = self._used_today(limits.caller) if limits.quota is not None else NOTHING
        self._count(limits, usage, backlog_s, used)

    def set(self, limits: CallerLimits, state: LimitState) -> None:
        """Replace what is known of a caller."""
        if limits.rate is not None:
            _put(self._arrivals, limits.caller, self._clock() + state.backlog_s, self._max_callers)
        if limits.quota is not None:
            _put(self._used, limits.caller, (self._today(), state.used), self._max_callers)

    def _count(
        self, limits: CallerLimits, usage: Usage, backlog_s: float, used: Usage
    ) -> LimitState:
        if limits.rate is not None:
            backlog_s = max(backlog_s + usage.requests * limits.rate.interval_s, 0.0)
        if limits.quota is not None:
            used = Usage(
                0,
                used.read_units + usage.read_units,
                used.records + usage.records,
                used.bytes + usage.bytes,
            )
        state = LimitState(None, backlog_s, used)
        self.set(limits, state)
        return state

    def _backlog_s(self, limits: CallerLimits) -> float:
        """At most what the rate allows: the rate of a key may have been another one before."""
        assert limits.rate is not None  # noqa: S101
        now = self._clock()
        arrival = self._arrivals.get(limits.caller)
        if arrival is None:
            return 0.0
        self._arrivals.move_to_end(limits.caller)  # refused requests count as seen, too
        return min(max(arrival - now, 0.0), limits.rate.capacity * limits.rate.interval_s)

    def _used_today(self, caller: str) -> Usage:
        day, used = self._used.get(caller, (0, NOTHING))
        return used if day == self._today() else NOTHING


def exceeded(quota: Quota, used: Usage, usage: Usage) -> Resource | None:
    """The first resource whose quota is used up, or does not suffice."""
    for resource in RESOURCES:
        limit = getattr(quota, resource)
        if limit is not None and getattr(used, resource) + (getattr(usage, resource) or 1) > limit:
            return resource
    return None


def _put(entries: OrderedDict[str, ValueT], key: str, value: ValueT, limit: int) -> None:
    entries[key] = value
    entries.move_to_end(key)
    if len(entries) > limit:
        entries.popitem(last=False)
