"""A line to Redis: one connection, which one task owns, and that nobody has to wait long for.

What callers want is put into a queue, and the task sends all that has come together as one
exchange. A caller that is cancelled never touches the connection. An exchange that fails, or takes
too long, ends the connection: everybody who waits has no answer then, and nobody is made to wait
until a new connection stands, which the task tries once a second.

Knows nothing of what is said over it.
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

CONNECT_S = 1.0
EXCHANGE_S = 0.05
PAUSE_S = 1.0  # between a failure and the next try
IDLE_S = 20.0  # after which it is looked whether the other end is still there
AT_ONCE = 64  # messages in one exchange
MAX_SIZE = 2**20  # of something told: more would keep the line for too long
MAX_TOLD_BYTES = 8 * MAX_SIZE  # that may wait to be sent; what comes then is dropped

OURS: dict[str, Any] = {  # whatever the URL says
    "protocol": 2,
    "decode_responses": False,
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": None,  # the limits are those above
    "socket_connect_timeout": None,
}

Command = Sequence[str | bytes | int]
Exchange = Callable[[Sequence[Command]], Awaitable[list[Any]]]


class _Message(NamedTuple):
    commands: Sequence[Command]
    size: int
    answer: asyncio.Future[list[Any] | None] | None


class Line:
    """`greet` is what has to be said over every new connection before anybody may use it.

    Raises `ValueError` or `TypeError` if the URL is none, or has an option that there is not.
    """

    def __init__(self, url: str, greet: Callable[[Exchange], Awaitable[None]]) -> None:
        options: dict[str, Any] = {"connection_class": Connection, **parse_url(url), **OURS}
        self._new_connection: Callable[[], Connection] = partial(
            options.pop("connection_class"), **options
        )
        self._new_connection()
        self._greet = greet
        self._up = False
        self._warned = False
        self._waiting: deque[_Message] = deque()
        self._told_bytes = 0
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Returns when the first try to connect is over, however it went."""
        self._task = asyncio.create_task(self._run())
        await self._tried.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def ask(self, *commands: Command) -> list[Any] | None:
        """The answers to these commands; None if there are none to be had just now."""
        if not self._up:
            return None
        answer: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()
        self._enqueue(_Message(commands, 0, answer))
        return await answer

    def tell(self, command: Command, size: int) -> bool:
        """Say something of about that size sometime; whether it is going to be tried."""
        if not self._up or size > MAX_SIZE or self._told_bytes + size > MAX_TOLD_BYTES:
            return False
        self._told_bytes += size
        self._enqueue(_Message((command,), size, None))
        return True

    def _enqueue(self, message: _Message) -> None:
        self._waiting.append(message)
        self._wanted.set()

    async def _run(self) -> None:
        """Connect, serve, and again, until it is cancelled."""
        while True:
            connection = self._new_connection()
            try:
                async with asyncio.timeout(CONNECT_S):
                    await connection.connect()  # type: ignore[no-untyped-call]  # not yet typed
                await self._greet(partial(_exchange, connection))
                self._rise()
                await self._serve(connection)
            except Exception as exc:
                self._warn(exc)
            finally:
                self._fall()
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(EXCHANGE_S):
                        await connection.disconnect()
            await asyncio.sleep(PAUSE_S)

    async def _serve(self, connection: Connection) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await self._wanted.wait()
            batch = self._batch()
            commands = [command for message in batch for command in message.commands]
            answers = iter(await _exchange(connection, commands or [("PING",)]))
            for message in batch:
                self._waiting.popleft()
                self._told_bytes -= message.size
                told = list(islice(answers, len(message.commands)))
                if message.answer is not None and not message.answer.done():
                    message.answer.set_result(told)
            if not self._waiting:
                self._wanted.clear()

    def _batch(self) -> list[_Message]:
        """What is to be sent next; it stays in the queue until it is answered."""
        batch: list[_Message] = []
        size = 0
        for message in islice(self._waiting, AT_ONCE):
            batch.append(message)
            size += message.size
            if size >= MAX_SIZE:
                break
        return batch

    def _rise(self) -> None:
        self._up = True
        self._tried.set()
        if self._warned:
            logger.info("Redis is back")
        self._warned = False

    def _fall(self) -> None:
        self._up = False
        self._tried.set()
        for message in self._waiting:
            if message.answer is not None and not message.answer.done():
                message.answer.set_result(None)
        self._waiting.clear()
        self._wanted.clear()
        self._told_bytes = 0

    def _warn(self, exc: Exception) -> None:
        if not self._warned:
            logger.warning(
                "Redis (REDIS_URL) can't be used just now; the service goes on without (%s: %s)",
                type(exc).__name__,
                exc,
            )
        self._warned = True


async def _exchange(connection: Connection, commands: Sequence[Command]) -> list[Any]:
    """One answer to each command. What is an error, or late, raises; the connection is of no use
    then, since there may be more answers on their way.
    """
    async with asyncio.timeout(EXCHANGE_S):
        await connection.send_packed_command(connection.pack_commands(commands))
        return [await connection.read_response() for _ in commands]
