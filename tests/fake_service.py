"""A fake Cascade over HTTP, for the commands that reach a service with --url.

It stores records and answers searches in the shapes of the API, records its requests, and sends
scripted responses first.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "a-key-of-sixteen-letters"
SEARCH_RESPONSE: dict[str, Any] = {
    "results": [{"_id": "one", "score": 0.5, "chunk_text": "Text.", "found_by": ["lexical"]}],
    "degraded": True,
    "receipt": {
        "ms": 12.34,
        "missing": ["semantic"],
        "stages": [
            {"stage": "lexical", "status": "ok", "ms": 1.0, "candidates": 1}
            | {"usage": {}, "error": None},
            {"stage": "semantic", "status": "late", "ms": 10.0, "candidates": 0}
            | {"usage": {}, "error": "upstream_timeout"},
        ],
    },
}


@dataclass(frozen=True)
class ScriptedResponse:
    """A response to one POST, in place of the normal one."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    fail: tuple[int, ...] = ()  # with status 200: the records of the batch that are rejected


class FakeService:
    """The requests so far, and the responses to come; `may_answer` holds all of them back."""

    def __init__(self, *script: ScriptedResponse, key: str = "") -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, dict[str, list[str]], Any]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.address = ""
        self._script = list(script)
        self._key = key
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)

    def wait_for_requests(self, times: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: len(self.requests) >= times, 60)

    def answer(self, path: str, key: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        parts = urlsplit(path)
        with self._came:
            self.requests.append((parts.path, parse_qs(parts.query), body))
            self._came.notify_all()
        self.may_answer.wait(100)
        with self._lock:
            scripted = self._script.pop(0) if self._script else ScriptedResponse(200)
            if self._key and key != f"Bearer {self._key}":
                detail = f"{key.removeprefix('Bearer ')} is no key of this service"
                return 401, {"detail": detail, "code": "key_rejected"}, {}
            if scripted.status != 200 or scripted.body is not None:
                return scripted.status, scripted.body, scripted.headers
            if parts.path != "/api/records":
                return 200, SEARCH_RESPONSE, {}
            return 200, self._written(body, scripted.fail), {}

    def _written(self, records: list[dict[str, Any]], fail: tuple[int, ...]) -> dict[str, Any]:
        failed = [
            {"index": index, "_id": records[index]["_id"], "code": "invalid_request"}
            | {"detail": "it is not to be"}
            for index in fail
        ]
        for index, record in enumerate(records):
            if index not in fail:
                self.records[record["_id"]] = record
        return {"written": len(records) - len(failed), "failed": failed}


def _handler(fake_service: FakeService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200, {"status": "ok"}, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers.get("Authorization", "")
            self._send(*fake_service.answer(self.path, key, body))

        def _send(self, status: int, body: Any, headers: dict[str, str]) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            with contextlib.suppress(ConnectionError):  # the client may have disconnected
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test output clean."""

    return Handler


@contextlib.contextmanager
def fake_service(*script: ScriptedResponse, key: str = "") -> Iterator[FakeService]:
    """Listens until the end of the block."""
    service = FakeService(*script, key=key)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(service)) as server:
        service.address = f"http://127.0.0.1:{server.server_port}"
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield service
        finally:
            service.may_answer.set()
            server.shutdown()
            thread.join()


def write_jsonl(path: Path, count: int) -> Path:
    """Write a file of `count` records."""
    records = ({"_id": f"r{n}", "chunk_text": f"record number {n}", "n": n} for n in range(count))
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path
