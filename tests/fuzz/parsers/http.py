"""Heads of HTTP requests: their rules, paths, and the headers that say who the caller is."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import h11
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map

from service.access.policy import AccessPolicy, Caller
from service.admission.controller import AdmissionController
from service.app import create_app
from service.lifecycle import Lifecycle
from service.server import request_rules
from service.server.shedding import LoadShedder
from service.settings import load_settings
from service.tracing.traceparent import trace_id_of
from service.web.admission_middleware import needs_slot
from service.web.authentication import PUBLIC_ENDPOINTS
from service.web.canonical_path import is_canonical
from service.web.metrics.metrics import Metrics
from service.web.metrics.middleware import RequestMetrics
from service.web.metrics.route_labels import RouteLabels
from service.web.proxy_headers import trust_proxies
from service.web.request_context import choose_request_id
from tests.fuzz.parsers.errors import answered_errors
from tests.fuzz.parsers.resources import run

ROUTES = create_app(load_settings()).url_map.bind("localhost")
WITHOUT_SLOT = {*PUBLIC_ENDPOINTS, "imports.import_events"}
POLICIES = [
    AccessPolicy((), "127.0.0.1", 0),
    AccessPolicy((), "0.0.0.0", 1, ["https://shop.example.org"], ["search.example.org"]),
    AccessPolicy(("a-key-of-the-service",), "127.0.0.1", 0),
]


def _full_shedder() -> LoadShedder:
    admission = AdmissionController(1, 0)
    admission.try_acquire()
    return LoadShedder(admission, Lifecycle(), RequestMetrics(Metrics(), RouteLabels(Map())))


SHEDDER = _full_shedder()


def request_head(data: bytes) -> None:
    """What is rejected before it is parsed is exactly one request, also for the HTTP parser."""
    shed = SHEDDER.match(data)
    request = _parse(data)
    accepted = request and request_rules.accept(request)
    if accepted:
        request_rules.has_websocket_key(accepted)
        assert accepted.target == b"*" or accepted.target.startswith(b"/")
    if shed is not None and request is not None:
        assert shed.headers == dict(request.headers)
        assert shed.method == request.method.decode()
        assert shed.path == request.target.partition(b"?")[0].decode()


def _parse(data: bytes) -> h11.Request | None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    return event if isinstance(event, h11.Request) else None


def request_path(data: bytes) -> None:
    """The admission gate, which compares paths, agrees with the routing."""
    request = _parse(b"GET " + data + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    accepted = request and request_rules.accept(request)
    if not accepted:
        return
    path = unquote(accepted.target.partition(b"?")[0].decode("ascii"))
    if not is_canonical(path):
        return
    for method in ("GET", "POST", "DELETE"):
        try:
            endpoint, _ = ROUTES.match(path, method)
        except HTTPException:
            continue
        assert needs_slot(path) is (endpoint not in WITHOUT_SLOT), (path, endpoint)


def caller_headers(data: bytes) -> None:
    host, origin, forwarded, request_id, *_ = [*data.split(b"\n", 3), b"", b"", b"", b""]
    caller = Caller(
        address="127.0.0.1",
        host=host.decode("latin1"),
        origin=origin.decode("latin1") or None,
        scheme="http",
        is_forwarded=False,
    )
    for policy in POLICIES:
        for check in (policy.authorize_read, policy.authorize_write, policy.check_websocket_origin):
            with answered_errors():
                check(caller)
        with answered_errors():
            policy.authenticate([request_id.decode("latin1")])
    assert choose_request_id(request_id.decode("latin1")).isprintable()
    trace_id_of(request_id.decode("latin1"))
    request_rules.is_valid_host(host)
    run(_forwarded(forwarded))


async def _forwarded(value: bytes) -> None:
    async def app(scope: Any, *_: Any) -> None:
        assert scope["scheme"] in {"http", "https"}

    async def unused(*_: Any) -> Any: ...

    headers = [(b"x-forwarded-for", value), (b"x-forwarded-proto", value)]
    scope = {"type": "http", "scheme": "http", "headers": headers}
    for hops in (0, 1, 2):
        await trust_proxies(app, hops)(scope, unused, unused)
