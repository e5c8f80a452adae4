"""The HTTP server of the fake upstream, on a real port, with an event loop in its own thread.

Each index has a path (`http://127.0.0.1:PORT/dense`); control plane and inference are under
`/control`. Tests set how an index behaves, and read the calls that it received.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import orjson

from tests.upstream.behavior import Behavior, http
from tests.upstream.pinecone import answer
from tests.upstream.records import Records

API_KEY = "test-key-7f3a9c"


@dataclass
class Call:
    """One request that reached the upstream."""

    index: str
    path: str
    headers: dict[str, str]
    body: Any
    abandoned: bool = False  # the client disconnected before the response was written
    query: dict[str, list[str]] = field(default_factory=dict)
    size: int = 0


class Upstream:
    """`with Upstream() as upstream:` listens until the end of the block."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.connections = 0
        self.records = Records()
        self._behaviors: dict[str, Behavior] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._happened = threading.Condition()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the upstream notices: a call, or a closed connection."""
        with_us = await asyncio.to_thread(self.wait_for, condition)
        assert with_us, "it did not happen"

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        with self._happened:
            return self._happened.wait_for(condition, 60)

    def _notify(self) -> None:
        with self._happened:
            self._happened.notify_all()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def host(self, index: str) -> str:
        """The host of one index, with a path, which the Pinecone client allows."""
        return f"{self.address}/{index}"

    def behave(self, behavior: Behavior | None, *paths: str) -> None:
        """Set the behavior of indexes or single paths (`index/path`); None is the normal one."""
        for path in paths:
            if behavior is None:
                self._behaviors.pop(path, None)
            else:
                self._behaviors[path] = behavior

    @contextlib.contextmanager
    def behaving(self, behavior: Behavior, *paths: str) -> Iterator[None]:
        self.behave(behavior, *paths)
        try:
            yield
        finally:
            self.behave(None, *paths)

    def searches(self, index: str | None = None) -> list[Call]:
        """The searches and reranks so far."""
        return [
            call
            for call in self.calls
            if call.path.endswith(("/search", "/rerank")) and index in {None, call.index}
        ]

    def upserts(self, index: str | None = None) -> list[Call]:
        """The upserts so far."""
        return [
            call
            for call in self.calls
            if call.path.endswith("/upsert") and index in {None, call.index}
        ]

    def __enter__(self) -> Upstream:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024), self._loop
        ).result(10)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.connections += 1
        try:
            while not writer.is_closing():
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.connections -= 1
            self._tasks.discard(task)
            writer.close()
            self._notify()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
        request_line, *lines = head.split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        target, _, query = request_line.split(" ")[1].partition("?")
        _, index, path = target.split("/", 2)
        ndjson = headers.get("content-type") == "application/x-ndjson"
        body = [orjson.loads(line) for line in raw.splitlines()] if ndjson else None
        call = Call(index, f"/{path}", headers, body or (orjson.loads(raw) if raw else None))
        call.query, call.size = parse_qs(query), len(raw)
        self.calls.append(call)
        self._notify()
        behavior = self._behaviors.get(f"{index}/{path}") or self._behaviors.get(index)
        if behavior is None:
            writer.write(self._normal(call))
        else:
            answering = behavior.answer(writer, partial(self._normal, call))
            await self._until_abandoned(answering, reader, call)
        await writer.drain()

    async def _until_abandoned(
        self, answering: Any, reader: asyncio.StreamReader, call: Call
    ) -> None:
        """Run a behavior, but notice when the client disconnects."""
        task = asyncio.ensure_future(answering)
        gone = asyncio.ensure_future(reader.read(1))  # no client pipelines: it is the end
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                call.abandoned = True
                self._notify()
                raise ConnectionResetError
            await task
        finally:
            task.cancel()
            gone.cancel()
            await asyncio.wait({task, gone})  # the reader allows one read at a time

    def _normal(self, call: Call) -> bytes:
        if call.headers.get("api-key") != API_KEY:
            return http(401, b'{"code": 16, "message": "Invalid API key", "details": []}')
        found = self.records.answer(call.index, call.path, call.body, call.query, call.size)
        status, body = found or answer(call.index, call.path, call.body)
        text = orjson.dumps(body).replace(b'"HOST/', f'"{self.address}/'.encode())
        return http(status, text, {"x-pinecone-request-id": "upstream-1"})
