"""Answers and rankings that are kept for a while, in the memory of the process or in Redis."""

from __future__ import annotations

from service.caching.memory_store import MemoryStore
from service.caching.store import CacheStore
from service.errors import StartupFailed
from service.settings import Settings

# The time after a write in which a search may return what was there before.
SETTLE_S = {"pinecone": 10.0, "embedded": 2.0}


def choose_store(settings: Settings) -> CacheStore:
    """Redis if it is configured, the memory of this process otherwise."""
    settle_s = SETTLE_S[settings.backend]
    if settings.redis_url is None:
        return MemoryStore(settings.cache_max_bytes, settle_s)
    from service.caching.redis_store import RedisStore  # noqa: PLC0415 - it takes 0.3 s to import

    try:
        return RedisStore(settings.redis_url.get_secret_value(), settle_s)
    except (ValueError, TypeError) as exc:
        raise StartupFailed("REDIS_URL has an unknown option after the `?`") from exc
