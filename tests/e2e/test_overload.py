"""A service that is full, over a real wire: who is refused, and who is served after that."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.admission.retry_after import RETRIES_PER_S
from tests.e2e.process import Process, serving
from tests.upstream import Gate, Upstream

SEARCH = "/api/semantic-search"
HELD = "dense/records/namespaces/__default__/search"
GET = f"GET {SEARCH}?text_query=cat HTTP/1.1\r\nHost: h\r\n%s\r\n"
BODY = '{"text_query": "cat"}'
POST = (
    f"POST {SEARCH} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n"
)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection."""

    def __init__(self, address: str) -> None:
        url = urlsplit(address)
        self.wire = socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=60)
        self._reader = self.wire.makefile("rb")

    def send(self, text: str) -> Client:
        self.wire.sendall(text.encode())
        return self

    def answer(self, *, head: bool = False) -> Answer:
        status = int(self._reader.readline().split()[1])
        headers = {}
        while (line := self._reader.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if status == 100:
            return self.answer(head=head)
        body = b"" if head else self._reader.read(int(headers["content-length"]))
        return Answer(status, headers, body)

    def has_an_answer(self) -> bool:
        self.wire.setblocking(False)
        try:
            return bool(self.wire.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        finally:
            self.wire.settimeout(60)

    def close(self) -> None:
        self._reader.close()
        self.wire.close()


@dataclass
class Full:
    """A service with its one place taken, and nowhere to wait."""

    process: Process
    address: str
    held: Gate
    at_work: Client

    @contextmanager
    def client(self) -> Iterator[Client]:
        client = Client(self.address)
        try:
            yield client
        finally:
            client.close()

    def free(self) -> None:
        """Let the upstream answer, and see the request off that has waited for it."""
        self.held.opened.set()
        assert self.at_work.answer().status == 200


@pytest.fixture
def full(upstream: Upstream) -> Iterator[Full]:
    held = Gate()
    upstream.behave(held, HELD)
    with serving(upstream, MAX_IN_FLIGHT=1, MAX_WAITING=0, SEARCH_TIMEOUT_MS=25_000) as (
        process,
        address,
    ):
        at_work = Client(address).send(GET % "")
        assert upstream.wait_for(lambda: len(upstream.searches()) == 1)
        yield Full(process, address, held, at_work)
        held.opened.set()
        at_work.close()


REQUESTS = [
    GET % "",
    GET % "Connection: Keep-Alive\r\nX-Request-Id: abc\r\nAccept: */*\r\n",
    GET % "Connection: keep-alive, x\r\n",
    GET % "X-Twice: a\r\nX-Twice: b\r\n",
    GET % "X-Odd: \x7f\r\n",
    GET.replace("HTTP/1.1", "HTTP/1.0") % "Connection: keep-alive\r\n",
    GET.replace(SEARCH, "/api/%%73emantic-search") % "",
    GET.replace("Host: h", "Host:h") % "Content-Length: 0\r\n",
    GET % "Expect: 100-continue\r\n",
    POST + BODY,
    f"POST {SEARCH} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n0\r\n\r\n",
]


def test_every_way_to_ask_is_refused_in_the_same_words(full: Full) -> None:
    for request in REQUESTS:
        with full.client() as client:
            answer = client.send(request).answer()
        error = answer.json
        assert (answer.status, error["code"]) == (503, "overloaded"), request
        assert error.keys() == {"detail", "code", "request_id"}
        assert error["request_id"] == answer.headers["x-request-id"]
        assert ("X-Request-Id: abc" in request) is (error["request_id"] == "abc")
        assert f"try again in {answer.headers['retry-after']} s" in error["detail"]
        assert answer.headers.keys() - {"connection"} == {
            "cache-control", "content-type", "content-length", "date", "retry-after",
            "server-timing", "x-content-type-options", "x-process-time", "x-request-id",
        }, request  # fmt: skip


def test_a_head_is_refused_without_a_body(full: Full) -> None:
    with full.client() as client:
        answer = client.send((GET % "Connection: close\r\n").replace("GET", "HEAD", 1))
        assert answer.answer(head=True).status == 503
        assert client.wire.recv(1) == b""


def test_a_body_that_comes_a_little_later_does_not_keep_the_client_from_its_answer(
    full: Full,
) -> None:
    with full.client() as client:
        client.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(POST).send(BODY[:4]).send(BODY[4:])
        assert client.answer().status == 503


def test_who_was_refused_is_served_over_the_same_connection_when_there_is_room(full: Full) -> None:
    with full.client() as client:
        for _ in range(2):
            assert client.send(POST + BODY).answer().status == 503
        full.free()
        assert client.send(GET % "").answer().json["results"][0]["_id"] == "cat"
        assert client.send("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").answer().status == 200


def crowd(full: Full) -> None:
    """So many are sent away that the next ones are told to stay away for some seconds."""
    with full.client() as proxy:
        for _ in range(12 * RETRIES_PER_S // 50):  # 4, where 1,000 are refused within a second
            proxy.send((GET % "X-Forwarded-For: 10.0.0.1\r\n") * 50)
            answers = [proxy.answer() for _ in range(50)]
            assert {answer.status for answer in answers} == {503}
            if int(answers[-1].headers["retry-after"]) > 3:
                return
    raise AssertionError("nobody is told to stay away for longer")


def test_who_comes_back_too_early_is_heard_when_it_is_time(full: Full) -> None:
    with full.client() as hasty:
        assert hasty.send(GET % "").answer().status == 503
        hasty.send(GET % "")
        full.free()
        assert hasty.answer().status == 200


def test_who_comes_back_too_early_keeps_nobody_else_from_being_heard(full: Full) -> None:
    crowd(full)
    with full.client() as hasty, full.client() as other:
        for client in (hasty, other):
            assert client.send(GET % "").answer().status == 503
        hasty.send(GET % "")
        assert other.send("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").answer().status == 200
        full.free()
        assert other.send(GET % "").answer().status == 200
        assert not hasty.has_an_answer()


def test_a_proxys_connection_belongs_to_many(full: Full) -> None:
    with full.client() as proxy, full.client() as other:
        ask = GET % "X-Forwarded-For: 10.0.0.1\r\n"
        for _ in range(3):
            assert proxy.send(ask).answer().status == 503
        assert other.send(GET % "").answer().status == 503


def test_a_request_that_came_too_early_is_not_lost_at_a_stop(full: Full) -> None:
    crowd(full)
    with full.client() as hasty:
        assert hasty.send(GET % "").answer().status == 503
        hasty.send(GET % "")
        with full.client() as other:  # by then it has been seen
            assert other.send(GET % "").answer().status == 503
        full.free()
        full.process.popen.send_signal(signal.SIGTERM)
        answer = hasty.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert full.process.wait() == 0


def test_what_hides_in_a_body_is_not_taken_for_a_request(full: Full) -> None:
    """Neither in one piece, nor as the piece that a packet ends with."""
    inner = GET % ""
    outer = f"POST {SEARCH} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(inner)}\r\n\r\n"
    with full.client() as client:
        client.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(outer)
        client.send(inner)
        assert client.answer().status == 503
        client.send("GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert client.answer().body == b'{"status":"ok"}'
        assert client.wire.recv(1) == b""


def test_requests_in_one_packet_are_answered_in_order_also_while_full(full: Full) -> None:
    with full.client() as client:
        client.send(GET % "" + "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n" + GET % "")
        assert [client.answer().status for _ in range(3)] == [503, 200, 503]


def test_a_stop_serves_those_who_wait(upstream: Upstream) -> None:
    held = Gate()
    upstream.behave(held, HELD)
    with serving(upstream, MAX_IN_FLIGHT=1, MAX_WAITING=8) as (process, address):
        clients = [Client(address).send(GET % "") for _ in range(9)]
        assert upstream.wait_for(lambda: len(upstream.searches()) == 1)
        process.popen.send_signal(signal.SIGTERM)
        held.opened.set()
        answers = [client.answer() for client in clients]
        assert {answer.status for answer in answers} == {200}
        for client in clients:
            client.close()
        assert process.wait() == 0
