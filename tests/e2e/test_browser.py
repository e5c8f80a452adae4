"""A real browser: what pages of other origins can do, and the page of the documentation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import Chromium, running_chromium
from tests.e2e.process import Process, serving_offline

KEY = "a-key-of-24-characters-1"
REBOUND = "rebound.example"
SEARCH = {"text_query": "spicy mouth", "top_k": 3}

GET = """async (service, key) => {
  const url = `${service}/api/semantic-search?text_query=spicy+mouth&top_k=3`;
  const response = await fetch(url, { headers: { "Api-Key": key } });
  const body = await response.json();
  const names = ["ETag", "X-Request-Id", "X-Cache", "Server-Timing"];
  const headers = names.filter((name) => response.headers.has(name));
  return { status: response.status, body, headers };
}"""
POST = """async (service, key, search) => {
  const response = await fetch(`${service}/api/semantic-search`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
    body: JSON.stringify(search),
  });
  return { status: response.status, body: await response.json() };
}"""
STREAM = """async (service, key, search) => {
  const response = await fetch(`${service}/api/cascading-retrieval/stream`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
    body: JSON.stringify(search),
  });
  let text = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
  return { status: response.status, text };
}"""
SOCKET = """(service, key, search) => new Promise((resolve) => {
  const messages = [];
  const socket = new WebSocket(`${service.replace("http", "ws")}/api/search/ws`);
  socket.onopen = () => {
    socket.send(JSON.stringify({ type: "hello", key }));
    socket.send(JSON.stringify({ type: "search", mode: "cascading", seq: 1, ...search }));
  };
  socket.onmessage = ({ data }) => {
    messages.push(JSON.parse(data));
    if (messages.at(-1).stage === "done") socket.close();
  };
  socket.onclose = ({ code }) => resolve({ code, messages });
})"""
DELETE = """async (service, key) => {
  const options = { method: "DELETE", headers: { "Api-Key": key } };
  return (await fetch(`${service}/api/records/nothing`, options)).status;
}"""
# How a call ended: the promise of a fetch that the browser refuses is rejected with a TypeError.
SAFELY = "(...given) => ({call})(...given).then(() => 'answered', (error) => error.name)"
REFUSED = "TypeError"


class EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>A shop</title>")

    def log_message(self, *arguments: Any) -> None:
        """Write no lines."""


@contextmanager
def website() -> Iterator[str]:
    """A server of pages; yields its origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class World:
    """A browser, a service with a key, and two websites, of which the service allows one."""

    browser: Chromium
    process: Process
    service: str
    shop: str
    evil: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        rules = f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1, EXCLUDE 127.0.0.1, MAP * ~NOTFOUND"
        folder = tmp_path_factory.mktemp("chromium")
        browser = stack.enter_context(running_chromium(folder, rules))
        shop, evil = stack.enter_context(website()), stack.enter_context(website())
        process, service = stack.enter_context(
            serving_offline(
                tmp_path_factory.mktemp("data"), SERVICE_API_KEYS=KEY, ALLOWED_ORIGINS=shop
            )
        )
        yield World(browser, process, service, shop, evil)


def test_page_of_allowed_origin_searches(world: World) -> None:
    with world.browser.page(world.shop) as page:
        found = page.call(GET, world.service, KEY)
        assert found["status"] == 200
        assert len(found["body"]["results"]) == 3
        assert found["headers"] == ["ETag", "X-Request-Id", "X-Cache", "Server-Timing"]
        posted = page.call(POST, world.service, KEY, SEARCH)
        assert (posted["status"], posted["body"]["results"]) == (200, found["body"]["results"])
        again = page.call(GET, world.service, KEY)  # the browser has an ETag, and asks with it
        assert "semantic-search 304" in world.process.log()
        assert (again["status"], again["headers"]) == (200, found["headers"])
        assert again["body"]["results"] == found["body"]["results"]
        assert page.call(DELETE, world.service, KEY) == 200


def test_page_of_allowed_origin_reads_errors(world: World) -> None:
    with world.browser.page(world.shop) as page:
        refused = page.call(POST, world.service, "wrong", SEARCH)
        assert (refused["status"], refused["body"]["code"]) == (401, "key_rejected")
        invalid = page.call(POST, world.service, KEY, {})
        assert (invalid["status"], invalid["body"]["code"]) == (422, "empty_query")


def test_page_of_allowed_origin_reads_stream(world: World) -> None:
    with world.browser.page(world.shop) as page:
        stream = page.call(STREAM, world.service, KEY, SEARCH)
        assert stream["status"] == 200
        assert stream["text"].count("event: ") > 1
        assert "event: done" in stream["text"]


def test_page_of_allowed_origin_searches_by_websocket(world: World) -> None:
    with world.browser.page(world.shop) as page:
        socket = page.call(SOCKET, world.service, KEY, SEARCH)
        assert socket["messages"][-1]["stage"] == "done"
        assert len(socket["messages"][-1]["results"]) == 3


def test_page_of_other_origin_is_refused(world: World) -> None:
    """With a valid key: the browser keeps the answers from the page."""
    with world.browser.page(world.evil) as page:
        for call in (GET, POST, STREAM, DELETE):
            safely = SAFELY.replace("{call}", call)
            assert page.call(safely, world.service, KEY, SEARCH) == REFUSED
        socket = page.call(SOCKET, world.service, KEY, SEARCH)
        assert socket == {"code": 1006, "messages": []}
        page.wait_for_error("blocked by CORS policy")


def test_page_of_allowed_origin_sends_no_credentials_of_the_browser(world: World) -> None:
    with_credentials = GET.replace("headers:", 'credentials: "include", headers:')
    with world.browser.page(world.shop) as page:
        safely = SAFELY.replace("{call}", with_credentials)
        assert page.call(safely, world.service, KEY) == REFUSED


def test_page_of_other_origin_can_not_embed_responses(world: World) -> None:
    """As an image or a script, without CORS: that is a request of the mode `no-cors`."""
    embed = "(service, path) => fetch(service + path, { mode: 'no-cors' })"
    with world.browser.page(world.evil) as page:
        safely = SAFELY.replace("{call}", embed)
        for path in ("/healthz", "/api/openapi.json", "/api/export", "/nowhere"):
            assert page.call(safely, world.service, path) == REFUSED
        assert page.call(safely, world.shop, "/") == "answered"  # a website without the header


SEND = """async (key) => {
  const operation = document.getElementById("post_semantic_search");
  operation.open = true;
  document.getElementById("key").value = key;
  const changed = new Promise((resolve) => {
    const watch = () => / in \\d+ ms/.test(status.textContent) && resolve(status.textContent);
    const status = operation.querySelector("[role=status]");
    new MutationObserver(watch).observe(status, { childList: true, subtree: true });
  });
  operation.querySelector("form").requestSubmit();
  return changed;
}"""
INJECT = """() => {
  const script = document.createElement("script");
  try { script.textContent = "window.ran = true"; } catch (error) { return error.name; }
  document.body.append(script);
  return String(window.ran);
}"""
RENDERED = """() => new Promise((resolve) => {
  const count = () => document.querySelectorAll("details.operation").length;
  if (count()) resolve(count());
  new MutationObserver(() => count() && resolve(count())).observe(document.body,
    { childList: true, subtree: true });
})"""


def test_documentation_page_works_under_its_security_policy(world: World) -> None:
    with world.browser.page(f"{world.service}/") as page:
        assert page.call(RENDERED) > 10
        assert page.call(SEND, KEY).startswith("200 in ")
        color = "() => getComputedStyle(document.querySelector('.method')).borderRadius"
        assert page.call(color) == "4px"
        assert page.errors() == []
        assert page.call(INJECT) == "TypeError"


def test_rebound_name_does_not_open_the_keyless_service(world: World, tmp_path: Path) -> None:
    """DNS rebinding: the name of a page that leads to this machine."""
    read = "async (path) => (await fetch(path)).status"
    with serving_offline(tmp_path) as (_, service):
        port = service.rpartition(":")[2]
        with world.browser.page(f"http://{REBOUND}:{port}/api/docs") as page:
            for path in ("/api/stats", "/api/export", "/api/semantic-search?text_query=tea"):
                assert page.call(read, path) == 403
        with world.browser.page(f"http://127.0.0.1:{port}/api/docs") as page:
            assert page.call(read, "/api/stats") == 200
