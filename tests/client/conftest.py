"""Fixtures: a synchronous or asynchronous client with one interface, and a service."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.client import AsyncSearchClient, SearchClient
from tests.e2e.process import serving_offline

Make = Callable[..., Any]


class SyncAdapter:
    """Runs an asynchronous client to completion, so that tests can use it synchronously."""

    def __init__(self, runner: asyncio.Runner, inner: Any) -> None:
        self._runner = runner
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found
        return lambda *given, **named: self._plain(found(*given, **named))

    def __iter__(self) -> Iterator[Any]:
        iterator = aiter(self._inner)
        while True:
            try:
                yield self._await(anext(iterator))
            except StopAsyncIteration:
                return

    def __enter__(self) -> Any:
        """Enters and exits in one task, as cancel scopes require."""
        self._left: asyncio.Future[BaseException | None] = self._runner.get_loop().create_future()
        entered: asyncio.Future[Any] = self._runner.get_loop().create_future()

        async def hold() -> None:
            async with self._inner as value:
                entered.set_result(value)
                if (exc := await self._left) is not None:
                    raise exc

        async def enter() -> Any:
            self._held = asyncio.create_task(hold())
            await asyncio.wait([self._held, entered], return_when=asyncio.FIRST_COMPLETED)
            return entered.result() if entered.done() else self._held.result()

        return self._plain(self._runner.run(enter()))

    def __exit__(self, kind: Any, exc: BaseException | None, traceback: Any) -> None:
        self._left.set_result(exc)
        try:
            self._await(self._held)
        except BaseException as raised:
            if raised is not exc:
                raise

    def _plain(self, value: Any) -> Any:
        if inspect.isawaitable(value):
            return self._plain(self._await(value))
        if any(hasattr(value, name) for name in ("__aenter__", "__aiter__")):
            return SyncAdapter(self._runner, value)
        return value

    def _await(self, awaitable: Any) -> Any:
        async def run() -> Any:
            return await awaitable

        return self._runner.run(run())


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Creates synchronous or asynchronous clients and closes them after the test."""
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        def made(*given: Any, **named: Any) -> Any:
            if request.param == "sync":
                return stack.enter_context(SearchClient(*given, **named))
            return stack.enter_context(SyncAdapter(runner, AsyncSearchClient(*given, **named)))

        yield made


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service with the sample records, shared by the package."""
    with serving_offline(tmp_path_factory.mktemp("var"), CACHE_TTL=0) as (_, url):
        yield url


@pytest.fixture
def client(make: Make, service: str) -> Any:
    """A client of that service."""
    return make(service)
