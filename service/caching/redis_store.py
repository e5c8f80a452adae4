"""A cache store in Redis, shared by several processes: an invalidation is visible to all at once.

A generation is a random token, so that one which Redis has evicted never comes back. An
invalidation that failed because Redis was unavailable is repeated on the next connection, before
anything is read over it.
"""

from __future__ import annotations

import secrets
import struct
import time
from hashlib import blake2b
from itertools import islice

from service.caching.redis_connection import (
    BATCH_TIMEOUT_S,
    Command,
    PipelinedConnection,
    RunBatch,
)
from service.caching.store import CacheLookup, StoreState

GENERATION_TTL_MS = 3_600_000
MAX_PENDING = 10_000  # invalidations; answers of further namespaces are valid until they expire
PENDING_BATCH = 500
SCOPE_BYTES = 8
_GENERATION_CHARS = 16
_HEADER = struct.Struct(f">{_GENERATION_CHARS}sd")  # the generation, and the time of storing


class RedisStore:
    """`settle_s` is the time after a write in which a search may return what was there before.

    A batch of commands that takes longer than `timeout_s` is a failure of Redis. Raises
    `ValueError` or `TypeError` if the URL is invalid or has an unknown option.
    """

    def __init__(self, url: str, settle_s: float, timeout_s: float = BATCH_TIMEOUT_S) -> None:
        self._connection = PipelinedConnection(url, self._on_connect, timeout_s)
        self._prefix = "cascade:"
        self._settle_ms = max(round(settle_s * 1000), 1)
        self._writes = 0
        self._pending: dict[str, int] = {}  # the last write to each namespace not yet invalidated

    @property
    def state(self) -> StoreState:
        return StoreState(is_connected=self._connection.is_connected)

    async def open(self, scope: str) -> None:
        self._prefix = f"cascade:{blake2b(scope.encode(), digest_size=SCOPE_BYTES).hexdigest()}:"
        await self._connection.open()

    async def close(self) -> None:
        await self._connection.close()

    async def look_up(self, namespace: str, key: str) -> CacheLookup:
        generation_key, written_key = self._namespace_keys(namespace)
        read = ("MGET", self._answer_key(namespace, key), generation_key, written_key)
        replies = await self._connection.execute(read)
        if replies is not None and replies[-1][1] is None:
            first = ("SET", generation_key, _new_generation(), "PX", GENERATION_TTL_MS, "NX")
            replies = await self._connection.execute(first, read)
        if replies is None:
            return CacheLookup(f"{self._writes} here", None, 0.0, is_settled=False)
        value, generation, written = replies[-1]
        if value is not None:
            stored_generation, stored_at = _HEADER.unpack_from(value)
            if stored_generation == generation:
                age_s = max(time.time() - stored_at, 0.0)  # another host's clock may be ahead
                payload = value[_HEADER.size :]
                return CacheLookup(generation.decode(), payload, age_s, is_settled=True)
        return CacheLookup(generation.decode(), None, 0.0, is_settled=written is None)

    def keep(self, namespace: str, key: str, generation: str, value: bytes, ttl_s: float) -> None:
        header = _HEADER.pack(generation.encode(), time.time())
        self._set_later(self._answer_key(namespace, key), header + value, ttl_s)

    async def invalidate(self, namespace: str) -> None:
        self._writes += 1
        write = self._pending[namespace] = self._writes
        if len(self._pending) > MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        if await self._connection.execute(*self._invalidation(namespace)) is not None:
            self._remove_pending(namespace, write)

    def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        return self._set_later(f"{self._prefix}value:{key}", value, ttl_s)

    async def get(self, key: str) -> bytes | None:
        replies = await self._connection.execute(("GET", f"{self._prefix}value:{key}"))
        return replies[0] if replies is not None else None

    async def _on_connect(self, run_batch: RunBatch) -> None:
        """Check that Redis accepts writes, and repeat the pending invalidations."""
        await run_batch([("SET", f"{self._prefix}hello", "", "PX", 1)])
        while self._pending:
            writes = dict(islice(self._pending.items(), PENDING_BATCH))
            await run_batch([command for each in writes for command in self._invalidation(each)])
            for namespace, write in writes.items():
                self._remove_pending(namespace, write)

    def _remove_pending(self, namespace: str, write: int) -> None:
        """Unless there has been another write since."""
        if self._pending.get(namespace) == write:
            del self._pending[namespace]

    def _invalidation(self, namespace: str) -> tuple[Command, Command]:
        """In this order: a reader that sees the new generation also sees that it is unsettled."""
        generation_key, written_key = self._namespace_keys(namespace)
        return (
            ("SET", written_key, "", "PX", self._settle_ms),
            ("SET", generation_key, _new_generation(), "PX", GENERATION_TTL_MS),
        )

    def _set_later(self, key: str, value: bytes, ttl_s: float) -> bool:
        milliseconds = max(round(ttl_s * 1000), 1)
        return self._connection.execute_later(("SET", key, value, "PX", milliseconds), len(value))

    def _answer_key(self, namespace: str, key: str) -> str:
        return f"{self._prefix}answer:{namespace}:{key}"

    def _namespace_keys(self, namespace: str) -> tuple[str, str]:
        return f"{self._prefix}generation:{namespace}", f"{self._prefix}written:{namespace}"


def _new_generation() -> str:
    return secrets.token_hex(_GENERATION_CHARS // 2)
