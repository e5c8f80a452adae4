"""What each caller may still use: one account per request, or per WebSocket.

A caller is a key, or a client address where there are no keys. The tokens of a key count together.
"""

from __future__ import annotations

import math
import time

from service.access.grant import Action, Grant
from service.access.limiting.addresses import caller_of_address
from service.access.limiting.memory_store import MemoryLimitStore, exceeded
from service.access.limiting.store import TOLERANCE, CallerLimits, LimitState, LimitStore
from service.access.limits import Quota, Rate, Resource, Usage
from service.errors import QuotaExceeded, RateLimited

DAY_S = 86_400
ONE_REQUEST = Usage(requests=1)
WRITES_AND_EXPORTS: frozenset[Action] = frozenset({"records.write", "imports", "export"})
UNITS: dict[Resource, str] = {
    "read_units": "read units",
    "records": "records",
    "bytes": "bytes",
}


class Account:
    """Counts what one caller uses. `state` is the last one that is known, after `take`."""

    __slots__ = ("_limits", "_store", "state")

    def __init__(self, store: LimitStore, limits: CallerLimits) -> None:
        self._store = store
        self._limits = limits
        self.state: LimitState | None = None

    @property
    def rate(self) -> Rate | None:
        return self._limits.rate

    @property
    def has_quota(self) -> bool:
        return self._limits.quota is not None

    @property
    def remaining(self) -> int:
        """How many requests are allowed at once now."""
        if self.rate is None or self.state is None:
            return 0
        free = self.rate.capacity - self.state.backlog_s / self.rate.interval_s
        return max(math.floor(free + TOLERANCE), 0)

    async def take(self, usage: Usage = ONE_REQUEST) -> None:
        """Count the usage, or raise `RateLimited` or `QuotaExceeded` and count nothing."""
        if not self._is_limited(usage):
            return
        self.state = await self._store.take(self._limits, usage)
        self._raise_refusal(self.state, usage)

    def add(self, usage: Usage) -> None:
        """Count what was used or is given back, in any case."""
        if not any(usage) or not self._is_limited(usage):
            return
        self._store.add(self._limits, usage)
        if self.state is not None and self.rate is not None:
            backlog_s = self.state.backlog_s + usage.requests * self.rate.interval_s
            self.state = self.state._replace(backlog_s=max(backlog_s, 0.0))

    def _is_limited(self, usage: Usage) -> bool:
        has_rate = self._limits.rate is not None
        return self._limits.quota is not None or (has_rate and usage.requests != 0)

    def require_room(self, usage: Usage) -> None:
        """Raise `QuotaExceeded` if the usage would not fit now. Counts nothing."""
        if self._limits.quota is not None and self.state is not None:
            refused = exceeded(self._limits.quota, self.state.used, usage)
            self._raise_refusal(self.state._replace(refused=refused), usage)

    def _raise_refusal(self, state: LimitState, usage: Usage) -> None:
        rate, quota = self._limits.rate, self._limits.quota
        if state.refused is None:
            return
        if state.refused == "requests":
            assert rate is not None  # noqa: S101
            retry_after = state.backlog_s - (rate.capacity - usage.requests) * rate.interval_s
            raise RateLimited(
                f"The rate limit of {rate} is reached; try again in {math.ceil(retry_after)} s",
                retry_after=retry_after,
            )
        limit, used = getattr(quota, state.refused), getattr(state.used, state.refused)
        raise QuotaExceeded(
            f"The quota of {limit} {UNITS[state.refused]} per day does not suffice: {used} are "
            "used; it begins anew at midnight UTC",
            retry_after=DAY_S - time.time() % DAY_S,
        )


UNLIMITED = Account(MemoryLimitStore(), CallerLimits("", None, None))


class Limits:
    """Opens accounts. `rate` is that of keys without one, `anonymous_rate` that of addresses."""

    def __init__(
        self, store: LimitStore, rate: Rate | None = None, anonymous_rate: Rate | None = None
    ) -> None:
        self._store = store
        self._rate = rate
        self._anonymous_rate = anonymous_rate

    async def open(self, scope: str) -> None:
        await self._store.open(scope)

    async def close(self) -> None:
        await self._store.close()

    def records_account(self, key_id: str, records_per_day: int | None) -> Account:
        """The account of a job that writes for a key later on."""
        if not key_id or records_per_day is None:
            return UNLIMITED
        quota = Quota(records=records_per_day)
        return Account(self._store, CallerLimits(f"key:{key_id}", None, quota))

    def account(self, grant: Grant, address: str | None, action: Action | None) -> Account:
        """The account of a caller, with the quotas that matter for the action."""
        rate = grant.rate or (self._rate if grant.key_id else self._anonymous_rate)
        quota = None if grant.quota is None else _quota_of_action(grant.quota, action)
        if rate is None and quota is None:
            return UNLIMITED
        caller = f"key:{grant.key_id}" if grant.key_id else f"address:{caller_of_address(address)}"
        return Account(self._store, CallerLimits(caller, rate, quota))


def _quota_of_action(quota: Quota, action: Action | None) -> Quota | None:
    if action == "search" and quota.read_units is not None:
        return Quota(read_units=quota.read_units)
    if action in WRITES_AND_EXPORTS and (quota.records, quota.bytes) != (None, None):
        return Quota(records=quota.records, bytes=quota.bytes)
    return None
