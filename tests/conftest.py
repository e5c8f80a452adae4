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
from quart.testing.app import TestApp
from quart.typing import TestClientProtocol

from service.app import create_app
from service.cli import main
from service.settings import Settings, load_settings
from tests.upstream import API_KEY, Upstream

# Properties have no deadline: a busy machine is not a bug.
hypothesis.settings.register_profile(
    "untimed",
    hypothesis.settings(),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("untimed")

OURS = (
    "AUDIT_",
    "OTEL_",
    "CACHE_",
    "CURSOR_",
    "DATABASE_",
    "ALLOWED_",
    "IMPORT_",
    "TYPING_",
    "REDIS_",
    "SERVICE_",
    "RATE_",
    "RECORDS_",
    "DATA_",
    "MAX_",
    "METRICS_",
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
    """Remove the settings of the shell that runs the tests."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


class PatientTestApp(TestApp):
    """Waits longer than Quart's 6 s, which a busy machine may need to open the engine."""

    def __init__(self, app: Quart) -> None:
        super().__init__(app, startup_timeout=60, shutdown_timeout=60)


Quart.test_app_class = PatientTestApp


MakeSettings = Callable[..., Settings]
Client = TestClientProtocol


@pytest.fixture
def make_settings(upstream: Upstream) -> MakeSettings:
    """Creates settings for the fake upstream, with few lanes, and the overrides of a test."""

    def make(**overrides: Any) -> Settings:
        given: dict[str, Any] = {
            "pinecone_api_key": API_KEY,
            "pinecone_dense_index_host": upstream.host("dense"),
            "pinecone_sparse_index_host": upstream.host("sparse"),
            "pinecone_controller_host": upstream.host("control"),
            "pinecone_lanes": 2,
            "cache_ttl": 0,  # every request of a test reaches the upstream
        }
        return load_settings(**(given | overrides))

    return make


@pytest.fixture
async def client(make_settings: MakeSettings) -> AsyncIterator[Client]:
    """A client of a running app."""
    async with create_app(make_settings()).test_app() as app:
        yield app.test_client()


@contextlib.asynccontextmanager
async def open_client(app: Quart, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run an app; yields an HTTP client whose requests seem to come from this machine."""
    async with app.test_app():
        asgi: Any = app  # the same protocol, in other types
        transport = httpx.ASGITransport(asgi, client=("127.0.0.1", 4711))
        options.setdefault("base_url", "http://127.0.0.1:8000")
        async with httpx.AsyncClient(transport=transport, **options) as client:
            yield client


@pytest.fixture
async def local(make_settings: MakeSettings) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of an app with two indexes of the records dialect."""
    async with open_client(create_app(make_settings())) as client:
        yield client


@dataclass(frozen=True)
class CompletedCommand:
    """Exit status and output of a command."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., CompletedCommand]


@contextlib.contextmanager
def unchanged_logging() -> Iterator[None]:
    """Undo what a command in this process does to the logging of the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Command]:
    """Runs commands in this process, in a temporary folder, with environment variables."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any, **variables: Any) -> CompletedCommand:
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exc:
            status = int(exc.code or 0)
        return CompletedCommand(status, *capsys.readouterr())

    with unchanged_logging():
        yield run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many examples of the documentation ran, with or without xdist."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "examples":
                terminalreporter.write_line(str(value))
