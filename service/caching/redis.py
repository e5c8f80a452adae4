"""A store in Redis, which several processes share: each sees at once what another one wrote.

A generation is a random word, so that one which Redis has lost never comes back. A write that could
not be told to Redis is remembered, and told before anything of it is believed again.
"""

from __future__ import annotations

import secrets
import struct
import time
from hashlib import blake2b
from itertools import islice

from service.caching.line import Command, Exchange, Line
from service.caching.store import CacheLookup

GENERATION_TTL_MS = 3_600_000
MAX_UNTOLD = 10_000  # namespaces; what is kept of any other ends by itself, after its time
TOLD_AT_ONCE = 500
SCOPE_BYTES = 8
_WORD = 16  # characters of a generation
_HEAD = struct.Struct(f">{_WORD}sd")  # the generation of a value, and when it was kept


class RedisStore:
    """`settle_s` is how long after a write a search may still find what was there before.

    Raises `ValueError` or `TypeError` if the URL is none, or has an option that there is not.
    """

    def __init__(self, url: str, settle_s: float) -> None:
        self._line = Line(url, self._greet)
        self._prefix = "cascade:"
        self._settle_ms = max(round(settle_s * 1000), 1)
        self._writes = 0
        self._untold: dict[str, int] = {}

    async def open(self, scope: str) -> None:
        self._prefix = f"cascade:{blake2b(scope.encode(), digest_size=SCOPE_BYTES).hexdigest()}:"
        await self._line.open()

    async def close(self) -> None:
        await self._line.close()

    async def look_up(self, namespace: str, key: str) -> CacheLookup:
        generation_key, written_key = self._state(namespace)
        read = ("MGET", self._answer(namespace, key), generation_key, written_key)
        answers = await self._line.ask(read)
        if answers is not None and answers[-1][1] is None:
            first = ("SET", generation_key, _new(), "PX", GENERATION_TTL_MS, "NX")
            answers = await self._line.ask(first, read)
        if answers is None:
            return CacheLookup(f"{self._writes} here", None, 0.0, is_settled=False)
        value, generation, written = answers[-1]
        if value is not None:
            of, kept_at = _HEAD.unpack_from(value)
            if of == generation:
                age_s = max(time.time() - kept_at, 0.0)  # by another machine's clock, perhaps
                return CacheLookup(generation.decode(), value[_HEAD.size :], age_s, is_settled=True)
        return CacheLookup(generation.decode(), None, 0.0, is_settled=written is None)

    def keep(self, namespace: str, key: str, generation: str, value: bytes, ttl_s: float) -> None:
        head = _HEAD.pack(generation.encode(), time.time())
        self._tell(self._answer(namespace, key), head + value, ttl_s)

    async def invalidate(self, namespace: str) -> None:
        self._writes += 1
        write = self._untold[namespace] = self._writes
        if len(self._untold) > MAX_UNTOLD:
            del self._untold[next(iter(self._untold))]
        if await self._line.ask(*self._written(namespace)) is not None:
            self._forget(namespace, write)

    def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        return self._tell(f"{self._prefix}value:{key}", value, ttl_s)

    async def get(self, key: str) -> bytes | None:
        answers = await self._line.ask(("GET", f"{self._prefix}value:{key}"))
        return answers[0] if answers is not None else None

    async def _greet(self, exchange: Exchange) -> None:
        """Tell of all writes that could not be told; and find out whether Redis takes anything."""
        await exchange([("SET", f"{self._prefix}hello", "", "PX", 1)])
        while self._untold:
            writes = dict(islice(self._untold.items(), TOLD_AT_ONCE))
            await exchange([command for each in writes for command in self._written(each)])
            for namespace, write in writes.items():
                self._forget(namespace, write)

    def _forget(self, namespace: str, write: int) -> None:
        """Unless there has been another write since."""
        if self._untold.get(namespace) == write:
            del self._untold[namespace]

    def _written(self, namespace: str) -> tuple[Command, Command]:
        """In this order: who sees the new generation knows that it has not settled."""
        generation_key, written_key = self._state(namespace)
        return (
            ("SET", written_key, "", "PX", self._settle_ms),
            ("SET", generation_key, _new(), "PX", GENERATION_TTL_MS),
        )

    def _tell(self, key: str, value: bytes, ttl_s: float) -> bool:
        milliseconds = max(round(ttl_s * 1000), 1)
        return self._line.tell(("SET", key, value, "PX", milliseconds), len(value))

    def _answer(self, namespace: str, key: str) -> str:
        return f"{self._prefix}answer:{namespace}:{key}"

    def _state(self, namespace: str) -> tuple[str, str]:
        return f"{self._prefix}generation:{namespace}", f"{self._prefix}written:{namespace}"


def _new() -> str:
    return secrets.token_hex(_WORD // 2)
