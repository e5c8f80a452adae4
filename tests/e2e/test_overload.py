"""An overloaded service over real connections: rejections, and requests held back after them."""

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

from service.admission.controller import RETRIES_PER_S
from tests.e2e.process import Process, serving
from tests.upstream import Gate, Upstream

SEARCH = "/api/semantic-search"
SEARCH_CALL = "dense/records/namespaces/__default__/search"
GET = f"GET {SEARCH}?text_query=cat HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
BODY = '{"text_query": "cat"}'
POST = (
    f"POST {SEARCH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n"
)


@dataclass(frozen=True)
class Response:
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
        self.sock = socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=60)
        self._reader = self.sock.makefile("rb")

    def send(self, text: str) -> Client:
        self.sock.sendall(text.encode())
        return self

    def receive(self, *, head: bool = False) -> Response:
        status = int(self._reader.readline().split()[1])
        headers = {}
        while (line := self._reader.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if status == 100:
            return self.receive(head=head)
        body = b"" if head else self._reader.read(int(headers["content-length"]))
        return Response(status, headers, body)

    def has_response(self) -> bool:
        self.sock.setblocking(False)
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        finally:
            self.sock.settimeout(60)

    def close(self) -> None:
        self._reader.close()
        self.sock.close()


@dataclass
class OverloadedService:
    """A service whose only slot is in use, without a queue."""

    process: Process
    address: str
    gate: Gate
    running: Client

    @contextmanager
    def client(self) -> Iterator[Client]:
        client = Client(self.address)
        try:
            yield client
        finally:
            client.close()

    def release_slot(self) -> None:
        """Let the upstream answer the running request, and wait for its response."""
        self.gate.opened.set()
        assert self.running.receive().status == 200


@pytest.fixture
def overloaded(upstream: Upstream) -> Iterator[OverloadedService]:
    gate = Gate()
    upstream.behave(gate, SEARCH_CALL)
    with serving(
        upstream,
        MAX_IN_FLIGHT=1,
        MAX_WAITING=0,
        SEARCH_TIMEOUT_MS=25_000,
        ALLOWED_ORIGINS="https://shop.example",
    ) as (process, address):
        running = Client(address).send(GET % "")
        assert upstream.wait_for(lambda: len(upstream.searches()) == 1)
        yield OverloadedService(process, address, gate, running)
        gate.opened.set()
        running.close()


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
    GET % "Origin: https://shop.example\r\n",
    POST + BODY,
    f"POST {SEARCH} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    "1\r\n{\r\n0\r\n\r\n",
]


def test_overloaded_error_is_equal_for_every_form_of_request(overloaded: OverloadedService) -> None:
    for request in REQUESTS:
        with overloaded.client() as client:
            response = client.send(request).receive()
        error = response.json
        assert (response.status, error["code"]) == (503, "overloaded"), request
        assert error.keys() == {"detail", "code", "request_id"}
        assert error["request_id"] == response.headers["x-request-id"]
        assert ("X-Request-Id: abc" in request) is (error["request_id"] == "abc")
        assert f"try again in {response.headers['retry-after']} s" in error["detail"]
        origin = "https://shop.example" if "Origin:" in request else None
        assert response.headers.get("access-control-allow-origin") == origin, request
        for_browsers = {"access-control-allow-origin", "access-control-expose-headers", "vary"}
        assert response.headers.keys() - {"connection"} - for_browsers == {
            "cache-control", "content-type", "content-length", "cross-origin-resource-policy",
            "date", "retry-after", "server-timing", "x-content-type-options", "x-process-time",
            "x-request-id",
        }, request  # fmt: skip


def test_rejected_head_has_no_body(overloaded: OverloadedService) -> None:
    with overloaded.client() as client:
        client.send((GET % "Connection: close\r\n").replace("GET", "HEAD", 1))
        assert client.receive(head=True).status == 503
        assert client.sock.recv(1) == b""


def test_request_with_delayed_body_is_rejected(
    overloaded: OverloadedService,
) -> None:
    with overloaded.client() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(POST).send(BODY[:4]).send(BODY[4:])
        assert client.receive().status == 503


def test_rejected_connection_is_served_when_slot_is_free(overloaded: OverloadedService) -> None:
    with overloaded.client() as client:
        for _ in range(2):
            assert client.send(POST + BODY).receive().status == 503
        overloaded.release_slot()
        assert client.send(GET % "").receive().json["results"][0]["_id"] == "cat"
        assert (
            client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").receive().status == 200
        )


def reject_many(overloaded: OverloadedService) -> None:
    """Send requests until the `Retry-After` of the rejections is several seconds."""
    with overloaded.client() as proxy:
        for _ in range(12 * RETRIES_PER_S // 50):  # 4 suffice for 1,000 rejections in a second
            proxy.send((GET % "X-Forwarded-For: 10.0.0.1\r\n") * 50)
            responses = [proxy.receive() for _ in range(50)]
            assert {response.status for response in responses} == {503}
            if int(responses[-1].headers["retry-after"]) > 3:
                return
    raise AssertionError("no rejection has a Retry-After of more than 3 s")


def test_early_retry_is_held_back_and_then_served(overloaded: OverloadedService) -> None:
    with overloaded.client() as early:
        assert early.send(GET % "").receive().status == 503
        early.send(GET % "")
        overloaded.release_slot()
        assert early.receive().status == 200


def test_held_back_request_does_not_delay_other_connections(overloaded: OverloadedService) -> None:
    reject_many(overloaded)
    with overloaded.client() as early, overloaded.client() as other:
        for client in (early, other):
            assert client.send(GET % "").receive().status == 503
        early.send(GET % "")
        assert (
            other.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").receive().status == 200
        )
        overloaded.release_slot()
        assert other.send(GET % "").receive().status == 200
        assert not early.has_response()


def test_proxy_connection_is_not_held_back(overloaded: OverloadedService) -> None:
    with overloaded.client() as proxy, overloaded.client() as other:
        request = GET % "X-Forwarded-For: 10.0.0.1\r\n"
        for _ in range(3):
            assert proxy.send(request).receive().status == 503
        assert other.send(GET % "").receive().status == 503


def test_held_back_request_is_served_at_shutdown(overloaded: OverloadedService) -> None:
    reject_many(overloaded)
    with overloaded.client() as early:
        assert early.send(GET % "").receive().status == 503
        early.send(GET % "")
        with overloaded.client() as other:  # after it, the service has received the early request
            assert other.send(GET % "").receive().status == 503
        overloaded.release_slot()
        overloaded.process.popen.send_signal(signal.SIGTERM)
        response = early.receive()
        assert (response.status, response.headers["connection"]) == (200, "close")
    assert overloaded.process.wait() == 0


def test_request_inside_body_is_not_parsed(overloaded: OverloadedService) -> None:
    """The body is a whole request, and arrives in a packet of its own."""
    inner = GET % ""
    outer = f"POST {SEARCH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(inner)}\r\n\r\n"
    with overloaded.client() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(outer)
        client.send(inner)
        assert client.receive().status == 503
        client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.receive().body == b'{"status":"ok"}'
        assert client.sock.recv(1) == b""


def test_pipelined_requests_are_answered_in_order_while_overloaded(
    overloaded: OverloadedService,
) -> None:
    with overloaded.client() as client:
        client.send(GET % "" + "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET % "")
        assert [client.receive().status for _ in range(3)] == [503, 200, 503]


def test_shutdown_serves_queued_requests(upstream: Upstream) -> None:
    gate = Gate()
    upstream.behave(gate, SEARCH_CALL)
    with serving(upstream, MAX_IN_FLIGHT=1, MAX_WAITING=8) as (process, address):
        clients = [Client(address).send(GET % "") for _ in range(9)]
        assert upstream.wait_for(lambda: len(upstream.searches()) == 1)
        process.popen.send_signal(signal.SIGTERM)
        gate.opened.set()
        responses = [client.receive() for client in clients]
        assert {response.status for response in responses} == {200}
        for client in clients:
            client.close()
        assert process.wait() == 0
