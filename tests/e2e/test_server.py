"""One process: it serves, it stops, and it says what keeps it from starting."""

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


def test_it_serves_what_it_is_asked(upstream: Upstream) -> None:
    with serving(upstream) as (process, address):
        answer = httpx.get(address + PATH)
        assert answer.status_code == 200
        assert answer.json()["results"][0]["_id"] == "cat"
        assert "server" not in answer.headers
        for line in process.log().splitlines():
            json.loads(line)
        process.popen.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        assert API_KEY not in process.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_answers_what_is_in_flight(upstream: Upstream, number: signal.Signals) -> None:
    with serving(upstream) as (process, address):
        upstream.behave(Delay(1.0), "dense")
        async with httpx.AsyncClient(base_url=address) as client:
            asked = [asyncio.create_task(client.get(f"{PATH}+{n}")) for n in range(8)]
            await upstream.until(lambda: len(upstream.searches()) == 8)
            process.popen.send_signal(number)
            process.popen.send_signal(number)  # Heroku may say it more than once
            answers = await asyncio.gather(*asked)
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.headers["connection"] for answer in answers} == {"close"}
        assert await asyncio.to_thread(process.wait) == 0


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_a_stop_under_load_drops_nothing(upstream: Upstream, keep_alive: bool) -> None:
    upstream.behave(Delay(0.01), "dense")
    with serving(upstream) as (process, address):
        async with asyncio.timeout(60), load(address, 16, keep_alive=keep_alive) as running:
            await running.until("200", 300)
            process.popen.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait) == 0
        assert running.dropped == {}


async def test_who_has_connected_but_was_not_accepted_at_the_stop_is_served(
    make_settings: MakeSettings,
) -> None:
    """The kernel has the connection and the request already; the client can't know of our stop."""
    lifecycle = Lifecycle()
    with listen("127.0.0.1", 0) as listener:
        async with running(create_app(make_settings(), lifecycle)) as app:
            server = Server(app, lifecycle, drain_timeout_s=5)
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                server._acceptor.start(listener)
                server._acceptor.stop(listener)
                answer = await asyncio.to_thread(client.recv, 65536)
            await server._drain()
    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_request_that_never_ends_does_not_keep_the_process(upstream: Upstream) -> None:
    with serving(upstream, DRAIN_TIMEOUT_S=1.5, SEARCH_TIMEOUT_MS=25_000) as (process, address):
        upstream.behave(Hang(), "dense")
        async with httpx.AsyncClient(base_url=address) as client:
            asked = asyncio.create_task(client.get(PATH, timeout=60))
            await upstream.until(lambda: bool(upstream.searches()))
            process.popen.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 15) == 0
            answer = await asked
            assert (answer.status_code, answer.json()["code"]) == (503, "stopping")


async def test_an_idle_connection_does_not_keep_the_process(upstream: Upstream) -> None:
    with serving(upstream) as (process, address):
        async with httpx.AsyncClient(base_url=address) as client:
            await client.get("/healthz")
            process.popen.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 15) == 0


async def test_a_stop_while_it_starts_is_a_stop(upstream: Upstream) -> None:
    upstream.behave(Hang(), "dense")
    process = Process(environment(upstream))
    try:
        await upstream.until(lambda: bool(upstream.calls))
        process.popen.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 15) == 0
        assert process.log() == ""
    finally:
        process.stop()


def refused(environment: dict[str, str]) -> str:
    """The one line that a start-up failure says."""
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
def test_what_keeps_it_from_starting_is_one_line(
    upstream: Upstream, workers: int, wrong: dict[str, Any], hint: str
) -> None:
    line = refused(environment(upstream, WEB_CONCURRENCY=workers, **wrong))
    assert hint in line
    assert "not-the-key" not in line


def test_a_port_that_is_taken(upstream: Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = refused(environment(upstream, PORT=taken.getsockname()[1]))
    assert "PORT" in line


def test_an_index_that_is_unwell_at_start_up(upstream: Upstream) -> None:
    upstream.behave(Status(500), "sparse")
    assert "PINECONE_SPARSE_INDEX_HOST" in refused(environment(upstream))
