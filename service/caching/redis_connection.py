"""A Redis connection that pipelines the commands of concurrent callers, with short deadlines.

One task owns the connection. Callers put commands into a queue, and the task sends everything that
is queued as one batch. So a cancelled caller never touches the connection, and concurrent reads
cost a fraction of what they cost over redis-py's pool (docs/decisions/0016). A batch that fails or
exceeds its deadline ends the connection: all waiting callers get None at once, and so do later ones
until the task has connected again, which it tries once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from redis.asyncio import Connection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 1.0
BATCH_TIMEOUT_S = 0.05
RECONNECT_DELAY_S = 1.0
PING_AFTER_S = 20.0  # without a command
MAX_BATCH = 64  # queued requests
MAX_WRITE_BYTES = 2**20  # more would block the connection for too long
MAX_QUEUED_BYTES = 8 * MAX_WRITE_BYTES  # of writes; more are dropped

FIXED_OPTIONS: dict[str, Any] = {  # these override the URL
    "protocol": 2,
    "decode_responses": False,
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": None,  # the timeouts above apply
    "socket_connect_timeout": None,
}

Command = Sequence[str | bytes | int]
RunBatch = Callable[[Sequence[Command]], Awaitable[list[Any]]]


class _Request(NamedTuple):
    commands: Sequence[Command]
    size: int
    reply: asyncio.Future[list[Any] | None] | None


class PipelinedConnection:
    """`on_connect` runs on every new connection before other commands.

    `meanwhile` tells the log what happens while Redis is unavailable. Raises `ValueError` or
    `TypeError` if the URL is invalid or has an unknown option.
    """

    def __init__(
        self,
        url: str,
        on_connect: Callable[[RunBatch], Awaitable[None]],
        batch_timeout_s: float = BATCH_TIMEOUT_S,
        meanwhile: str = "nothing is cached",
    ) -> None:
        options: dict[str, Any] = {
            "connection_class": Connection,
            **parse_url(url),
            **FIXED_OPTIONS,
        }
        self._new_connection: Callable[[], Connection] = partial(
            options.pop("connection_class"), **options
        )
        self._new_connection()
        self._on_connect = on_connect
        self._batch_timeout_s = batch_timeout_s
        self._meanwhile = meanwhile
        self._is_connected = False
        self._has_warned = False
        self._queue: deque[_Request] = deque()
        self._queued_bytes = 0
        self._has_requests = asyncio.Event()
        self._has_tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    async def open(self) -> None:
        """Start to connect; returns after the first attempt, even if it failed."""
        self._task = asyncio.create_task(self._run())
        await self._has_tried.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def execute(self, *commands: Command) -> list[Any] | None:
        """Returns the replies; None if Redis is unavailable."""
        if not self._is_connected:
            return None
        reply: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()
        self._enqueue(_Request(commands, 0, reply))
        return await reply

    def execute_later(self, command: Command, size: int) -> bool:
        """Queue a write of about `size` bytes; False if it is too large, or Redis unavailable."""
        if (
            not self._is_connected
            or size > MAX_WRITE_BYTES
            or self._queued_bytes + size > MAX_QUEUED_BYTES
        ):
            return False
        self._queued_bytes += size
        self._enqueue(_Request((command,), size, None))
        return True

    def _enqueue(self, request: _Request) -> None:
        self._queue.append(request)
        self._has_requests.set()

    async def _run(self) -> None:
        """Connect and serve, again and again, until cancelled."""
        while True:
            connection = self._new_connection()
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await connection.connect()  # type: ignore[no-untyped-call]  # not yet typed
                await self._on_connect(partial(self._run_batch, connection))
                self._mark_connected()
                await self._serve(connection)
            except Exception as exc:
                self._warn_once(exc)
            finally:
                self._mark_disconnected()
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(self._batch_timeout_s):
                        await connection.disconnect()
            await asyncio.sleep(RECONNECT_DELAY_S)

    async def _serve(self, connection: Connection) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PING_AFTER_S):
                    await self._has_requests.wait()
            batch = self._next_batch()
            commands = [command for request in batch for command in request.commands]
            replies = iter(await self._run_batch(connection, commands or [("PING",)]))
            for request in batch:
                self._queue.popleft()
                self._queued_bytes -= request.size
                own_replies = list(islice(replies, len(request.commands)))
                if request.reply is not None and not request.reply.done():
                    request.reply.set_result(own_replies)
            if not self._queue:
                self._has_requests.clear()

    async def _run_batch(self, connection: Connection, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write, and return one reply for each.

        Raises on an error reply and at the deadline. The connection is unusable then, because more
        replies may be on their way.
        """
        async with asyncio.timeout(self._batch_timeout_s):
            await connection.send_packed_command(connection.pack_commands(commands))
            return [await connection.read_response() for _ in commands]

    def _next_batch(self) -> list[_Request]:
        """The requests to send next; they stay queued until Redis has replied."""
        batch: list[_Request] = []
        size = 0
        for request in islice(self._queue, MAX_BATCH):
            batch.append(request)
            size += request.size
            if size >= MAX_WRITE_BYTES:
                break
        return batch

    def _mark_connected(self) -> None:
        self._is_connected = True
        self._has_tried.set()
        if self._has_warned:
            logger.info("Redis is available again")
        self._has_warned = False

    def _mark_disconnected(self) -> None:
        self._is_connected = False
        self._has_tried.set()
        for request in self._queue:
            if request.reply is not None and not request.reply.done():
                request.reply.set_result(None)
        self._queue.clear()
        self._has_requests.clear()
        self._queued_bytes = 0

    def _warn_once(self, exc: Exception) -> None:
        if not self._has_warned:
            logger.warning(
                "Redis (REDIS_URL) is unavailable; until it is back, %s (%s: %s)",
                self._meanwhile,
                type(exc).__name__,
                exc,
            )
        self._has_warned = True
