"""The service as one process: start-up errors, requests and graceful shutdown."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from typing import Any

import httpx
import pytest

from service.app import create_app, running
from service.lifecycle import Lifecycle
from service.server.process import Server, listen
from tests.conftest import MakeSettings
from tests.e2e.load import PATH, load
from tests.e2e.process import Process, environment, serving
from tests.upstream import API_KEY, Delay, Hang, Status, Upstream


def test_service_answers_search_and_logs_json_without_key(upstream: Upstream) -> None:
    with serving(upstream) as (process, address):
        response = httpx.get(address + PATH)
        assert response.status_code == 200
        assert response.json()["results"][0]["_id"] == "cat"
        assert "server" not in response.headers
        for line in process.log().splitlines():
            json.loads(line)
        process.popen.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        assert API_KEY not in process.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_shutdown_answers_running_requests(
    upstream: Upstream, number: signal.Signals
) -> None:
    with serving(upstream) as (process, address):
        upstream.behave(Delay(1.0), "dense")
        async with httpx.AsyncClient(base_url=address) as client:
            requests = [asyncio.create_task(client.get(f"{PATH}+{n}")) for n in range(8)]
            await upstream.until(lambda: len(upstream.searches()) == 8)
            process.popen.send_signal(number)
            if number == signal.SIGTERM:
                process.popen.send_signal(number)  # Heroku may send it more than once
            responses = await asyncio.gather(*requests)
        assert {response.status_code for response in responses} == {200}
        assert {response.headers["connection"] for response in responses} == {"close"}
        assert await asyncio.to_thread(process.wait) == 0


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_shutdown_under_load_drops_no_request(upstream: Upstream, keep_alive: bool) -> None:
    upstream.behave(Delay(0.01), "dense")
    with serving(upstream) as (process, address):
        async with asyncio.timeout(60), load(address, 16, keep_alive=keep_alive) as running:
            await running.until("200", 300)
            process.popen.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait) == 0
        assert running.dropped == {}


async def test_shutdown_serves_connection_in_accept_backlog(
    make_settings: MakeSettings,
) -> None:
    """The kernel has completed the handshake, so the client has sent its request already."""
    lifecycle = Lifecycle()
    with listen("127.0.0.1", 0) as listener:
        async with running(create_app(make_settings(), lifecycle)) as app:
            server = Server(app, lifecycle, drain_timeout_s=5)
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                server._acceptor.start(listener)
                server._acceptor.stop(listener)
                response = await asyncio.to_thread(client.recv, 65536)
            await server._drain()
    assert response.startswith(b"HTTP/1.1 200")


async def test_shutdown_cancels_hanging_request_after_drain_timeout(upstream: Upstream) -> None:
    with serving(upstream, DRAIN_TIMEOUT_S=1.5, SEARCH_TIMEOUT_MS=25_000) as (process, address):
        upstream.behave(Hang(), "dense")
        async with httpx.AsyncClient(base_url=address) as client:
            request = asyncio.create_task(client.get(PATH, timeout=60))
            await upstream.until(lambda: bool(upstream.searches()))
            process.popen.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 15) == 0
            response = await request
            assert (response.status_code, response.json()["code"]) == (503, "stopping")


@pytest.mark.parametrize("workers", [1, 2])
async def test_second_sigint_ends_drain_at_once(upstream: Upstream, workers: int) -> None:
    """Without it, the drain would take longer than the test waits."""
    overrides = {"DRAIN_TIMEOUT_S": 300, "SEARCH_TIMEOUT_MS": 25_000, "WEB_CONCURRENCY": workers}
    with serving(upstream, **overrides) as (process, address):
        upstream.behave(Hang(), "dense")
        async with httpx.AsyncClient(base_url=address, timeout=200) as client:
            request = asyncio.create_task(client.get(f"{PATH}&timeout_ms=25000"))
            await upstream.until(lambda: bool(upstream.searches()))
            process.popen.send_signal(signal.SIGINT)
            while "stopping" not in process.log():
                await asyncio.sleep(0.02)
            process.popen.send_signal(signal.SIGINT)
            response = await request
            assert (response.status_code, response.json()["code"]) == (503, "stopping")
        assert await asyncio.to_thread(process.wait, 60) == 0


async def test_shutdown_closes_idle_connection(upstream: Upstream) -> None:
    with serving(upstream) as (process, address):
        async with httpx.AsyncClient(base_url=address) as client:
            await client.get("/healthz")
            process.popen.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 15) == 0


async def test_sigterm_during_startup_exits_with_0(upstream: Upstream) -> None:
    upstream.behave(Hang(), "dense")
    process = Process(environment(upstream))
    try:
        await upstream.until(lambda: bool(upstream.calls))
        process.popen.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 15) == 0
        assert process.log() == ""
    finally:
        process.stop()


def startup_error(environment: dict[str, str]) -> str:
    """Start the service, which must fail, and return the one line that it prints."""
    process = Process(environment)
    try:
        assert process.wait() not in {0, None}
        lines = process.log().splitlines()
    finally:
        process.stop()
    assert len(lines) == 1, lines
    assert lines[0].startswith("cascade: ")
    return lines[0]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"PINECONE_API_KEY": "not-the-key"}, "PINECONE_API_KEY"),
        ({"PINECONE_API_KEY": None}, "PINECONE_API_KEY"),
        ({"PINECONE_DENSE_INDEX_HOST": "http://127.0.0.1:1"}, "PINECONE_DENSE_INDEX_HOST"),
        ({"PINECONE_DENSE_INDEX_HOST": "nowhere.invalid"}, "PINECONE_DENSE_INDEX_HOST"),
        ({"PORT": "http"}, "PORT"),
        ({"HOST": "no.such.host.invalid"}, "HOST"),
        ({"HOST": "é..x"}, "HOST"),
        ({"PINECONE_API_KEY": "two words"}, "PINECONE_API_KEY"),
        ({"PINECONE_CONTROLLER_HOST": "http://["}, "PINECONE_CONTROLLER_HOST"),
    ],
)
def test_startup_error_is_one_line_that_names_setting(
    upstream: Upstream, workers: int, wrong: dict[str, Any], hint: str
) -> None:
    line = startup_error(environment(upstream, WEB_CONCURRENCY=workers, **wrong))
    assert hint in line
    assert "not-the-key" not in line


def test_startup_error_of_used_port_names_port(upstream: Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        line = startup_error(environment(upstream, PORT=used.getsockname()[1]))
    assert "PORT" in line


def test_startup_error_of_failing_index_names_its_host(upstream: Upstream) -> None:
    upstream.behave(Status(500), "sparse")
    assert "PINECONE_SPARSE_INDEX_HOST" in startup_error(environment(upstream))
