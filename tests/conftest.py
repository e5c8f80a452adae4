"""Fixtures: an upstream, settings that point at it, and a client of the open app."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from quart import Quart
from quart.typing import TestClientProtocol

from service.app import create_app
from service.cli import main
from service.settings import Settings, load_settings
from tests.upstream import API_KEY, Upstream

# No property is about time: a busy machine is no bug.
hypothesis.settings.register_profile(
    "untimed",
    hypothesis.settings(),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("untimed")

OURS = (
    "CACHE_",
    "CURSOR_",
    "DATABASE_",
    "ALLOWED_",
    "IMPORT_",
    "TYPING_",
    "REDIS_",
    "SERVICE_",
    "RECORDS_",
    "DATA_",
    "MAX_",
    "UPSERTS_",
    "PINECONE_",
    "SEARCH_",
    "NO_COLOR",
    "LOG_",
    "HOST",
    "PORT",
    "WEB_CONCURRENCY",
    "DYNO",
    "TRUSTED_",
)


def pytest_xdist_auto_num_workers() -> int:
    """How many processes `-n auto` is: more than there are CPUs, since many tests wait."""
    return 2 + (os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


MakeSettings = Callable[..., Settings]
Client = TestClientProtocol


@pytest.fixture
def make_settings(upstream: Upstream) -> MakeSettings:
    """Settings for the upstream, with a few lanes, and whatever a test wants otherwise."""

    def make(**overrides: Any) -> Settings:
        given: dict[str, Any] = {
            "pinecone_api_key": API_KEY,
            "pinecone_dense_index_host": upstream.host("dense"),
            "pinecone_sparse_index_host": upstream.host("sparse"),
            "pinecone_controller_host": upstream.host("control"),
            "pinecone_lanes": 2,
            "cache_ttl": 0,  # each request of a test is meant
        }
        return load_settings(**(given | overrides))

    return make


@pytest.fixture
async def client(make_settings: MakeSettings) -> AsyncIterator[Client]:
    """A client of an app that is open."""
    async with create_app(make_settings()).test_app() as app:
        yield app.test_client()


@contextlib.asynccontextmanager
async def calling(app: Quart, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client on this machine, of an app that is open."""
    async with app.test_app():
        asgi: Any = app  # the same protocol, in other types
        transport = httpx.ASGITransport(asgi, client=("127.0.0.1", 4711))
        options.setdefault("base_url", "http://127.0.0.1:8000")
        async with httpx.AsyncClient(transport=transport, **options) as client:
            yield client


@pytest.fixture
async def local(make_settings: MakeSettings) -> AsyncIterator[httpx.AsyncClient]:
    """A client on this machine, of an app over two indexes of the records dialect."""
    async with calling(create_app(make_settings())) as client:
        yield client


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Command]:
    """Run commands in this process, in a folder of their own, with these variables."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any, **variables: Any) -> Done:
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exc:
            status = int(exc.code or 0)
        return Done(status, *capsys.readouterr())

    yield run
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
