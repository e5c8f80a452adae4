"""Spans as a collector receives them: how they are nested, what they say, what they never say."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from quart import Quart

from service.app import create_app
from service.logs import JsonFormatter
from service.tracing.setup import choose_tracing
from tests.asgi_request import AsgiRequest
from tests.conftest import MakeSettings
from tests.tracing.collector import Collector
from tests.upstream import API_KEY, Call, Flaky, Gate, Hang, Status, Upstream
from tests.web.search.test_as_you_type import connect

pytest.importorskip("opentelemetry.sdk", reason="needs the extra `opentelemetry`")

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SEARCHED = "/records/namespaces/{namespace}/search"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.endpoint)
        yield running


@pytest.fixture
async def app(collector: Collector, make_settings: MakeSettings) -> AsyncIterator[Quart]:
    """An app that exports its spans when the test calls `app.shutdown()`, or when it ends."""
    created = create_app(make_settings(typing_pause_ms=0))
    async with created.test_app():
        yield created


async def request(app: Quart, method: str, target: str, **options: Any) -> httpx.Response:
    asgi: Any = app
    transport = httpx.ASGITransport(asgi, client=("127.0.0.1", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        return await client.request(method, target, **options)


async def export(app: Quart) -> None:
    """Close the app, which exports all spans that have ended."""
    await app.shutdown()


def upstream_call(index: str) -> str:
    return f"POST /{index}{SEARCHED}"


async def test_spans_of_a_cascade_are_nested(app: Quart, collector: Collector) -> None:
    response = await request(app, "GET", "/api/cascading-retrieval?text_query=cat")
    assert response.status_code == 200
    await export(app)
    assert collector.tree() == [
        (
            "GET /api/cascading-retrieval",
            [
                (
                    "search cascading",
                    [
                        ("leg lexical", [(upstream_call("sparse"), [])]),
                        ("leg semantic", [(upstream_call("dense"), [])]),
                        ("rerank", [("POST /control/rerank", [])]),
                    ],
                )
            ],
        )
    ]
    assert len({span.trace_id for span in collector.spans}) == 1
    by_id = {span.id: span for span in collector.spans}
    for span in collector.spans:
        assert span.error is None
        if span.parent_id:
            parent = by_id[span.parent_id]
            assert parent.start <= span.start <= span.end <= parent.end
    assert collector.paths == ["/v1/traces"]


async def test_span_has_no_key_that_a_client_put_into_a_path(
    app: Quart, collector: Collector
) -> None:
    await request(app, "DELETE", f"/api/nowhere/csk_gq3tmnrxgyzdkojq_{'aB3' * 16}")
    await export(app)
    assert collector.one("DELETE").attributes["url.path"] == "/api/nowhere/[secret]"


async def test_span_of_a_request_has_attributes(app: Quart, collector: Collector) -> None:
    headers = {"X-Request-Id": "r-1"}
    await request(
        app, "GET", "/api/semantic-search?text_query=cat&namespace=books", headers=headers
    )
    await request(app, "GET", "/nowhere/at-all")
    await request(app, "BREW", "/nowhere")
    await export(app)
    span = collector.one("GET /api/semantic-search")
    assert span.kind == "server"
    assert span.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/api/semantic-search",
        "url.path": "/api/semantic-search",
        "url.scheme": "http",
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "cascade.request_id": "r-1",
        "cascade.namespace": "books",
        "cascade.cache": "off",
    }
    assert span.resource["service.name"] == "cascade"
    assert span.resource["service.version"]
    assert collector.one("GET").attributes["http.response.status_code"] == 404
    assert collector.one("HTTP").attributes["http.request.method"] == "_OTHER"
    leg = collector.one("leg semantic")
    assert leg.attributes["cascade.index"] == "dense"
    assert leg.attributes["cascade.attempts"] == 1
    assert leg.attributes["cascade.read_units"] >= 1
    call = collector.one(upstream_call("dense"))
    assert call.kind == "client"
    assert call.attributes["http.response.status_code"] == 200
    assert call.attributes["url.full"].endswith("/dense/records/namespaces/books/search")


async def test_trace_of_the_caller_is_continued_and_passed_on(
    app: Quart, collector: Collector, upstream: Upstream
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=a:b,other=1"}
    before = len(upstream.calls)
    await request(app, "GET", "/api/cascading-retrieval?text_query=cat", headers=headers)
    await export(app)
    assert {span.trace_id for span in collector.spans} == {TRACE}
    assert collector.one("GET /api/cascading-retrieval").parent_id == PARENT
    calls = upstream.calls[before:]
    assert len(calls) == 3
    for call in calls:
        version, trace, parent, flags = header(call, "traceparent").split("-")
        assert (version, trace, flags) == ("00", TRACE, "01")
        assert {span.id: span.kind for span in collector.spans}[parent] == "client"
        assert header(call, "tracestate") == "vendor=a:b,other=1"
    assert len({header(call, "traceparent") for call in calls}) == 3


def header(call: Call, name: str) -> str:
    return {key.lower(): value for key, value in call.headers.items()}.get(name, "")


@pytest.mark.parametrize(
    "sent",
    ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01", "00-" + "a" * 9000],
)
async def test_request_without_valid_traceparent_begins_a_trace(
    app: Quart, collector: Collector, sent: str
) -> None:
    await request(app, "GET", "/nowhere", headers={"traceparent": sent, "tracestate": "a=1"})
    await export(app)
    span = collector.one("GET")
    assert span.parent_id == ""
    assert span.trace_id != TRACE
    assert span.trace_state == ""


async def test_trace_that_is_not_sampled_is_passed_on_but_not_exported(
    app: Quart, collector: Collector, upstream: Upstream
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
    await request(app, "GET", "/api/semantic-search?text_query=cat", headers=headers)
    await export(app)
    assert collector.spans == []
    assert header(upstream.searches()[-1], "traceparent").startswith(f"00-{TRACE}-")
    assert header(upstream.searches()[-1], "traceparent").endswith("-00")


async def test_log_lines_of_a_request_have_the_id_of_its_new_trace(
    app: Quart, collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(()))
    logger = logging.getLogger("service.access")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        await request(app, "GET", "/nowhere")
        await request(app, "GET", "//not-canonical")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    await export(app)
    assert [line["trace_id"] for line in lines] == [span.trace_id for span in collector.spans]


async def test_failed_leg_and_call_are_errors_without_the_text_of_the_error(
    app: Quart, collector: Collector, upstream: Upstream
) -> None:
    upstream.behave(Status(400, message="private words"), "dense")
    response = await request(app, "GET", "/api/cascading-retrieval?text_query=secret-wish")
    assert response.json()["degraded"] is True
    upstream.behave(Status(500), "dense", "sparse")
    failed = await request(app, "GET", "/api/lexical-search?text_query=secret-wish")
    assert failed.status_code == 503
    await export(app)
    degraded = collector.one("GET /api/cascading-retrieval")
    assert degraded.error is None
    assert collector.one("leg semantic").error == "upstream_refused"
    assert collector.one(upstream_call("dense")).error == "400"
    assert collector.one("search cascading").attributes["cascade.missing"] == ["semantic"]
    assert collector.one("GET /api/lexical-search").error == "503"
    assert collector.one("search lexical").error == "upstream_unavailable"
    text = str(collector.spans)
    assert "private words" not in text
    assert "secret-wish" not in text
    assert API_KEY not in text


async def test_query_is_in_spans_only_with_log_queries(
    collector: Collector, make_settings: MakeSettings
) -> None:
    app = create_app(make_settings(log_queries=True))
    async with app.test_app():
        await request(app, "GET", "/api/lexical-search?text_query=my+wish")
    assert collector.one("search lexical").attributes["cascade.query"] == "my wish"


async def test_second_attempt_of_a_call_is_a_span_of_the_same_leg(
    app: Quart, collector: Collector, upstream: Upstream
) -> None:
    upstream.behave(Flaky(Status(503), 1), "dense")
    await request(app, "GET", "/api/semantic-search?text_query=cat")
    await export(app)
    leg = collector.one("leg semantic")
    first, second = sorted(collector.named(upstream_call("dense")), key=lambda span: span.start)
    assert (first.error, second.error) == ("503", None)
    assert first.parent_id == second.parent_id == leg.id
    assert leg.error is None
    assert leg.attributes["cascade.attempts"] == 2


async def test_hedged_request_and_the_call_that_it_replaces_are_spans_of_the_leg(
    app: Quart, collector: Collector, upstream: Upstream
) -> None:
    (leg_of_mode,) = app.extensions["cascade"]._legs["semantic"]
    reads = leg_of_mode.index.reads
    for _ in range(100):  # calls that were fast, so that a slow one is hedged soon
        reads._latencies.add(0.02)
    upstream.behave(Flaky(Hang(), 1), "dense")
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    response = await request(app, "GET", "/api/semantic-search?text_query=dog", headers=headers)
    assert response.status_code == 200
    await export(app)
    ours = [span for span in collector.spans if span.trace_id == TRACE]
    (leg,) = [span for span in ours if span.name == "leg semantic"]
    calls = [span for span in ours if span.kind == "client"]
    assert {span.error for span in calls} == {"cancelled", None}
    assert {span.parent_id for span in calls} == {leg.id}


async def test_leg_that_is_late_is_cancelled(
    app: Quart, collector: Collector, upstream: Upstream
) -> None:
    upstream.behave(Hang(), "dense")
    parameters = "text_query=cat&timeout_ms=1500"
    response = await request(app, "GET", f"/api/cascading-retrieval?{parameters}")
    assert response.json()["receipt"]["missing"] == ["semantic"]
    await export(app)
    assert collector.one("leg semantic").error in {"cancelled", "timeout"}
    assert {span.error for span in collector.named(upstream_call("dense"))} == {"cancelled"}
    assert collector.one("leg lexical").error is None


async def test_requests_that_share_a_search_are_linked_to_it(
    app: Quart, collector: Collector, upstream: Upstream
) -> None:
    gate = Gate()
    upstream.behave(gate, "dense")
    path = "/api/cascading-retrieval"
    first = asyncio.create_task(request(app, "GET", f"{path}?text_query=cat"))
    await upstream.until(lambda: len(upstream.searches("dense")) == 1)
    followers = [
        asyncio.create_task(request(app, "GET", f"{path}{more}?text_query=cat"))
        for more in ("", "/stream")
    ]
    while app.extensions["cascade.admission"].admitted < 3:
        await asyncio.sleep(0)
    await request(app, "GET", "/healthz")  # the followers have had their turns
    gate.opened.set()
    await asyncio.gather(first, *followers)
    await export(app)
    search = collector.one("search cascading")
    spans = collector.named(f"GET {path}") + collector.named(f"GET {path}/stream")
    (leader,) = [span for span in spans if span.id == search.parent_id]
    assert leader.linked_ids == ()
    others = [span for span in spans if span is not leader]
    assert [span.linked_ids for span in others] == [(search.id,)] * 2
    assert {span.attributes["cascade.cache"] for span in others} == {"shared"}
    assert len({span.trace_id for span in spans}) == 3


async def test_span_of_a_stream_lasts_until_its_last_event(
    app: Quart, collector: Collector
) -> None:
    response = await request(app, "GET", "/api/cascading-retrieval/stream?text_query=cat")
    assert "event: done" in response.text
    await export(app)
    span = collector.one("GET /api/cascading-retrieval/stream")
    search = collector.one("search cascading")
    assert search.parent_id == span.id
    assert search.end <= span.end
    assert span.attributes["cascade.cache"] == "off"


async def test_searches_over_a_websocket_are_spans_of_its_connection(
    app: Quart, collector: Collector
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    async with connect(app, headers=headers) as search_socket:
        for seq in (1, 2):
            await search_socket.search(seq, f"cat {seq}", "semantic")
            await search_socket.receive_all()
    await export(app)
    span = collector.one("GET /api/search/ws")
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
    assert span.attributes["http.response.status_code"] == 101
    searches = collector.named("search semantic")
    assert [search.parent_id for search in searches] == [span.id] * 2


async def test_write_has_spans_of_its_calls(app: Quart, collector: Collector) -> None:
    body = [{"_id": "1", "chunk_text": "x"}]
    assert (await request(app, "POST", "/api/records", json=body)).status_code == 200
    await export(app)
    (root,) = collector.tree()
    upsert = "records/namespaces/{namespace}/upsert"
    assert root == (
        "POST /api/records",
        [(f"POST /dense/{upsert}", []), (f"POST /sparse/{upsert}", [])],
    )


async def test_span_of_a_request_whose_client_has_left(
    app: Quart, collector: Collector, upstream: Upstream
) -> None:
    upstream.behave(Hang(), "dense")
    leaving = AsgiRequest(app, "/api/semantic-search?text_query=a")
    await upstream.until(lambda: bool(upstream.searches()))
    await leaving.disconnect()
    await export(app)
    span = collector.one("GET /api/semantic-search")
    assert span.error == "cancelled"
    assert "http.response.status_code" not in span.attributes


async def test_health_checks_and_calls_outside_of_a_trace_have_no_spans(
    app: Quart, collector: Collector, upstream: Upstream
) -> None:
    before = len(upstream.calls)
    for path in ("/healthz", "/readyz"):
        assert (await request(app, "GET", path)).status_code == 200
    await export(app)
    assert collector.spans == []
    assert len(upstream.calls) > before
    assert all(header(call, "traceparent") == "" for call in upstream.calls)


async def test_unreachable_collector_delays_neither_requests_nor_the_end_for_long(
    collector: Collector, make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    collector.answers.clear()
    app = create_app(make_settings())
    async with app.test_app():
        await request(app, "GET", "/api/lexical-search?text_query=cat")
        began = time.monotonic()
    assert time.monotonic() - began < 60  # 5 s, and what a busy machine takes
    assert "the last spans were not exported within 5 s" in caplog.text


async def test_standard_variables_set_headers_compression_and_resource(
    collector: Collector, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-search")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    app = create_app(make_settings())
    async with app.test_app():
        await request(app, "GET", "/nowhere")
    span = collector.one("GET")
    assert span.resource["service.name"] == "shop-search"
    assert span.resource["deployment.environment.name"] == "test"
    received = {name.lower(): value for name, value in collector.headers[0].items()}
    assert (received["api-key"], received["content-encoding"]) == ("abc", "gzip")


async def test_spans_are_exported_while_the_service_runs(
    collector: Collector, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    app = create_app(make_settings())
    async with app.test_app():
        await request(app, "GET", "/nowhere")
        await collector.until(lambda: collector.named("GET"))


@pytest.mark.parametrize(
    ("environment", "warning"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "x"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER has to be otlp or none"),
        (
            {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            },
            "OTEL_EXPORTER_OTLP_PROTOCOL has to be http/protobuf",
        ),
    ],
)
def test_tracing_is_off(
    environment: dict[str, str], warning: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert choose_tracing(environment) is None
    assert (warning in caplog.text) if warning else (caplog.records == [])


@pytest.mark.parametrize(
    "environment",
    [{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h"}, {"OTEL_TRACES_EXPORTER": "otlp"}],
)
def test_tracing_is_on(environment: dict[str, str]) -> None:
    assert choose_tracing(environment) is not None


OFF = """
import sys
from service.app import create_app
from service.logs import JsonFormatter
from service.settings import load_settings
app = create_app(load_settings(data_dir=sys.argv[1]))
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""


def test_nothing_of_opentelemetry_is_imported_while_tracing_is_off(tmp_path: Any) -> None:
    assert output(OFF, tmp_path) == "[]\n"


MISSING = """
import logging, sys
logging.basicConfig()
sys.modules["opentelemetry"] = None  # as if it were not installed
from service.tracing.setup import choose_tracing
assert choose_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h"}) is None
"""


def test_missing_extra_is_a_warning() -> None:
    assert "pip install 'cascade-search[opentelemetry]'" in output(MISSING)


def output(program: str, *arguments: Any) -> str:
    """What a program in a process of its own prints."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
