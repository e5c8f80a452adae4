"""A collector of spans: the far end of OTLP over HTTP, on loopback, which parses what it gets."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

ERROR = 2  # of a status
KINDS = {1: "internal", 2: "server", 3: "client"}


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it was on the wire, with its attributes as a dictionary."""

    name: str
    kind: str
    trace_id: str
    id: str
    parent_id: str
    trace_state: str
    start: int
    end: int
    error: str | None
    attributes: dict[str, Any]
    linked_ids: tuple[str, ...]
    resource: dict[str, Any]


class Collector:
    """`with Collector() as collector:` listens until the end of the block.

    While `answers` is not set, it receives requests and does not answer them.
    """

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answers = threading.Event()
        self.answers.set()
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def receive(self, path: str, headers: dict[str, str], body: bytes) -> None:
        with self._changed:
            self.paths.append(path)
            self.headers.append(headers)
            self.spans += _parse(body)
            self._changed.notify_all()

    async def until(self, condition: Callable[[], Any]) -> None:
        assert await asyncio.to_thread(self._wait, condition), f"received: {self.names()}"

    def _wait(self, condition: Callable[[], Any]) -> bool:
        with self._changed:
            return bool(self._changed.wait_for(condition, 60))

    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReceivedSpan:
        found = self.named(name)
        assert len(found) == 1, f"{len(found)} of {name!r} in {self.names()}"
        return found[0]

    def tree(self, root: str = "") -> Any:
        """The names of the spans below a parent, sorted, each with those below it."""
        below = sorted((s for s in self.spans if s.parent_id == root), key=lambda s: s.name)
        return [(span.name, self.tree(span.id)) for span in below]


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.receive(self.path, dict(self.headers), body)
            collector.answers.wait(100)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Not to standard error."""

    return Handler


def _parse(body: bytes) -> list[ReceivedSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _received(span, _attributes(resource_spans.resource.attributes))
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def _received(span: Any, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        kind=KINDS[span.kind],
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        trace_state=span.trace_state,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        error=span.status.message if span.status.code == ERROR else None,
        attributes=_attributes(span.attributes),
        linked_ids=tuple(each.span_id.hex() for each in span.links),
        resource=resource,
    )


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)
