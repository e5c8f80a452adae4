"""Rate limits and quotas of callers: in memory, or in Redis for several processes."""

from __future__ import annotations

from service.access.limiting.account import Limits
from service.access.limiting.memory_store import MemoryLimitStore
from service.access.limiting.store import LimitStore
from service.access.limits import Rate, parse_rate
from service.errors import StartupFailed
from service.settings import Settings


def choose_limits(settings: Settings) -> Limits:
    """The limits in Redis if it is configured, in the memory of this process otherwise."""
    return Limits(
        _choose_store(settings),
        _rate("RATE_LIMIT", settings.rate_limit),
        _rate("RATE_LIMIT_ANONYMOUS", settings.rate_limit_anonymous),
    )


def _choose_store(settings: Settings) -> LimitStore:
    if settings.redis_url is None:
        return MemoryLimitStore()
    from service.access.limiting.redis_store import RedisLimitStore  # noqa: PLC0415 - takes 0.3 s

    try:
        return RedisLimitStore(settings.redis_url.get_secret_value())
    except (ValueError, TypeError) as exc:
        raise StartupFailed("REDIS_URL has an unknown option after the `?`") from exc


def _rate(name: str, text: str | None) -> Rate | None:
    try:
        return parse_rate(text) if text else None
    except ValueError as exc:
        raise StartupFailed(f"{name}: {exc}") from None
