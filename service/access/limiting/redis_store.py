"""A limit store in Redis, which all processes share.

One script decides and counts, so a request costs one round trip, and no two processes can both take
the last unit. Redis's clock is the only one. If Redis is out of reach, each process goes on by
itself from the last state of each caller that it has seen.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b, sha1

from service.access.limiting.memory_store import MemoryLimitStore
from service.access.limiting.store import TOLERANCE, CallerLimits, LimitState
from service.access.limits import RESOURCES, Usage
from service.caching.redis_connection import Command, PipelinedConnection, RunBatch

# Longer than for cached answers: there a false alarm costs a search, here it weakens the limits.
TIMEOUT_S = 0.25
SCOPE_BYTES = 8
UNLIMITED = -1
USAGE_TTL_S = 2 * 86_400
COMMAND_BYTES = 300  # about

# Times are in microseconds: as integers they are exact in Lua's numbers until the year 2255.
# Replies: what was refused (0, 1 for requests, or 2 and more for a resource), the backlog, and what
# was used of each resource.
SCRIPT = f"""
local interval, capacity, requests = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local must_count = ARGV[4] == '1'
local backlog, now = 0, 0
if capacity > 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
  local arrival = tonumber(redis.call('GET', KEYS[1])) or now
  backlog = math.min(math.max(arrival - now, 0), capacity * interval)
  local allowed = capacity - requests + {TOLERANCE}
  if requests > 0 and not must_count and backlog > allowed * interval then
    return {{1, backlog, 0, 0, 0}}
  end
end
local used = {{0, 0, 0}}
if #ARGV > 4 then
  local stored = redis.call('HMGET', KEYS[2], unpack(ARGV, 5, 7))
  for i = 1, 3 do
    used[i] = tonumber(stored[i]) or 0
    local amount, limit = tonumber(ARGV[7 + i]), tonumber(ARGV[10 + i])
    if limit ~= {UNLIMITED} and not must_count and used[i] + math.max(amount, 1) > limit then
      return {{1 + i, backlog, used[1], used[2], used[3]}}
    end
  end
  for i = 1, 3 do
    local amount = tonumber(ARGV[7 + i])
    if amount ~= 0 then
      used[i] = redis.call('HINCRBY', KEYS[2], ARGV[4 + i], amount)
      redis.call('EXPIRE', KEYS[2], {USAGE_TTL_S})
    end
  end
end
if capacity > 0 and requests ~= 0 then
  backlog = math.max(backlog + requests * interval, 0)
  if backlog >= 1 then
    local ttl = math.ceil(backlog / 1000)
    redis.call('SET', KEYS[1], string.format('%.0f', now + backlog), 'PX', ttl)
  else
    redis.call('DEL', KEYS[1])
  end
end
return {{0, backlog, used[1], used[2], used[3]}}
"""
DIGEST = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisLimitStore:
    """A batch of commands that takes longer than `timeout_s` is a failure of Redis.

    Raises `ValueError` or `TypeError` if the URL is invalid or has an unknown option.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self._connection = PipelinedConnection(
            url,
            self._on_connect,
            timeout_s,
            meanwhile="each process limits its callers by itself",
        )
        self._local = MemoryLimitStore()
        self._prefix = "cascade:"

    async def open(self, scope: str) -> None:
        digest = blake2b(scope.encode(), digest_size=SCOPE_BYTES).hexdigest()
        self._prefix = f"cascade:{digest}:"
        await self._connection.open()

    async def close(self) -> None:
        await self._connection.close()

    async def take(self, limits: CallerLimits, usage: Usage) -> LimitState:
        replies = await self._connection.execute(self._command(limits, usage, must_count=False))
        if replies is None:
            return self._local.take_now(limits, usage)
        refused, backlog_us, *used = replies[0]
        state = LimitState(
            ("requests", *RESOURCES)[refused - 1] if refused else None,
            backlog_us / 1e6,
            Usage(0, *used),
        )
        self._local.set(limits, state)
        return state

    def add(self, limits: CallerLimits, usage: Usage) -> None:
        command = self._command(limits, usage, must_count=True)
        if not self._connection.execute_later(command, COMMAND_BYTES):
            self._local.add(limits, usage)

    def _command(self, limits: CallerLimits, usage: Usage, *, must_count: bool) -> Command:
        rate, quota, caller = limits.rate, limits.quota, limits.caller
        interval_us = rate.interval_s * 1e6 if rate else 0
        capacity = rate.capacity if rate else 0
        keys = f"{self._prefix}rate:{caller}", f"{self._prefix}used:{caller}:{_today()}"
        command = (
            *("EVALSHA", DIGEST, 2, *keys),
            *(repr(interval_us), capacity, repr(usage.requests), int(must_count)),
        )
        if quota is None:
            return command
        given = (getattr(quota, resource) for resource in RESOURCES)
        quotas = (UNLIMITED if limit is None else limit for limit in given)
        return (*command, *RESOURCES, *usage[1:], *quotas)

    async def _on_connect(self, run_batch: RunBatch) -> None:
        """Load the script, and check that Redis accepts writes."""
        await run_batch([("SCRIPT", "LOAD", SCRIPT), ("SET", f"{self._prefix}limits", "", "PX", 1)])


def _today() -> str:
    """The day in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")
