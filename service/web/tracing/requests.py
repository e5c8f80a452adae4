"""A span for each request and each WebSocket connection, in the trace of its `traceparent`.

It is ASGI middleware, so that the span has all of a request: its time in the admission queue, and a
response that is streamed. What only the app knows, such as the route, is added in hooks of Quart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quart import Quart, request, websocket
from quart.wrappers.base import BaseRequestWebsocket

from service.logs import one_line, redact_credentials, trace_id_var
from service.web.access_log import CANCELLED, PROBES, current_state
from service.web.asgi import ASGIApp, Message, Receive, Scope, Send, header_value, route_path

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from service.tracing.spans import Tracing

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
OTHER_METHOD = "_OTHER"
SWITCHING_PROTOCOLS = 101
FIRST_SERVER_ERROR = 500
CONTEXT_HEADERS = ("traceparent", "tracestate")


def trace_requests(app: Quart, asgi_app: ASGIApp, tracing: Tracing | None) -> ASGIApp:
    """Wrap `asgi_app`, and add the hooks to `app`. Health checks have no spans."""
    if tracing is None:
        return asgi_app
    _install_hooks(app, tracing)

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or route_path(scope) in PROBES:
            await asgi_app(scope, receive, send)
            return
        method = _method(scope)
        headers = {name: header_value(scope, name.encode()) for name in CONTEXT_HEADERS}
        present = {name: value for name, value in headers.items() if value}
        with tracing.request_span(_name(method), present, _attributes(scope, method)) as span:
            trace_id_var.set(tracing.trace_id())

            async def send_and_note(message: Message) -> None:
                _note_response(message, span, tracing)
                await send(message)

            await asgi_app(scope, receive, send_and_note)

    return middleware


def _install_hooks(app: Quart, tracing: Tracing) -> None:
    @app.before_request
    async def use_trace_of_request() -> None:
        _use_trace_id(tracing)

    @app.before_websocket
    async def use_trace_of_websocket() -> None:
        _use_trace_id(tracing)

    @app.teardown_request
    async def describe_request(_: BaseException | None) -> None:
        span = tracing.current_span()
        _describe(request, span)
        if "status" not in current_state():  # it has no response
            tracing.fail(span, CANCELLED)

    @app.teardown_websocket
    async def describe_websocket(_: BaseException | None) -> None:
        _describe(websocket, tracing.current_span())


def _use_trace_id(tracing: Tracing) -> None:
    """A request that brings no trace has a new one."""
    if tracing.is_in_trace():
        trace_id_var.set(tracing.trace_id())


def _describe(connection: BaseRequestWebsocket, span: Span) -> None:
    if not span.is_recording():
        return
    state = current_state()
    grant = state.get("grant")
    attributes: dict[str, Any] = {
        "cascade.request_id": state.get("request_id"),
        "cascade.namespace": state.get("namespace"),
        "cascade.key_id": grant.key_id if grant is not None and grant.key_id else None,
        "cascade.code": state.get("code"),
    }
    if connection.url_rule is not None:
        attributes["http.route"] = connection.url_rule.rule
        span.update_name(f"{_name(_method(connection.scope))} {connection.url_rule.rule}")
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})


def _attributes(scope: Scope, method: str) -> dict[str, str | None]:
    return {
        "http.request.method": method,
        "url.path": redact_credentials(one_line(scope["path"])),
        "url.scheme": scope.get("scheme"),
        "client.address": one_line((scope.get("client") or [""])[0]) or None,
        "network.protocol.version": scope.get("http_version"),
    }


def _note_response(message: Message, span: Span, tracing: Tracing) -> None:
    status = None
    if message["type"] in {"http.response.start", "websocket.http.response.start"}:
        status = message["status"]
    elif message["type"] == "websocket.accept":
        status = SWITCHING_PROTOCOLS
    elif message["type"] == "websocket.close":
        span.set_attribute("cascade.close_code", message.get("code", 1000))
    if status is not None:
        span.set_attribute("http.response.status_code", status)
        if status >= FIRST_SERVER_ERROR:
            tracing.fail(span, str(status))


def _method(scope: Scope) -> str:
    """The method, of a bounded set."""
    method = scope.get("method", "GET")  # a WebSocket has none
    return method if method in METHODS else OTHER_METHOD


def _name(method: str) -> str:
    return "HTTP" if method == OTHER_METHOD else method
