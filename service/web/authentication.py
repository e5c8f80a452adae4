"""Authentication of requests and WebSockets, by API key.

A key is read from a header or from the first WebSocket message, never from the URL: URLs end up in
logs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from pydantic_core import from_json
from quart import Blueprint, Quart, Response, g, request, websocket
from quart.wrappers.base import BaseRequestWebsocket

from service.access.grant import Action, Grant
from service.access.pending_hellos import PendingHellos
from service.access.policy import AccessPolicy, Caller
from service.errors import Forbidden, KeyMissing, KeyRejected, KeysUnavailable

PUBLIC_ENDPOINTS = {
    "documentation.openapi",
    "documentation.page",
    "documentation.root",
    "metrics.metrics",  # which has a key of its own
    "openapi",
    "operations.healthz",
    "operations.readyz",
}
ViewT = TypeVar("ViewT", bound=Callable[..., Any])

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
FORWARDING_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via")

POLICY_VIOLATION = 1008  # a close code (RFC 6455, section 7.4.1)
TRY_AGAIN_LATER = 1013  # registered with IANA
HELLO_REQUIRED = 'send {"type": "hello", "key": "…"} as the first message'


def install(app: Quart, policy: AccessPolicy, hellos: PendingHellos) -> None:
    """Require a key on every route that is not public. Unknown paths get their 404 without one."""

    @app.before_request
    async def authenticate_request() -> None:
        if request.endpoint is not None and request.endpoint not in PUBLIC_ENDPOINTS:
            if policy.checks_reads:
                policy.authorize_read(caller_of(request))
            grant = policy.authenticate(sent_keys(request) if policy.requires_key else ())
            authorize(app, request.endpoint, grant)

    @app.before_websocket
    async def authenticate_websocket() -> Response | None:
        if websocket.endpoint is None:
            return None
        policy.check_websocket_origin(caller_of(websocket))
        keys = sent_keys(websocket)
        accept = partial(websocket.accept, headers={"X-Request-Id": g.request_id})
        try:
            if policy.requires_key and not keys:
                keys = [await _receive_hello(accept, hellos)]
            else:
                await accept()
            authorize(app, websocket.endpoint, policy.authenticate(keys))
        except (KeyMissing, KeyRejected, Forbidden, KeysUnavailable) as error:
            g.code, g.detail = error.code, error.detail  # for the logs
            is_final = not isinstance(error, KeysUnavailable)
            await websocket.close(POLICY_VIOLATION if is_final else TRY_AGAIN_LATER, error.detail)
            return Response(status=error.status)
        return None


def requires(action: Action) -> Callable[[ViewT], ViewT]:
    """Mark a view with the action that a key has to allow."""

    def decorate(view: ViewT) -> ViewT:
        view.required_action = action  # type: ignore[attr-defined]
        return view

    return decorate


def check_routes(app: Quart) -> None:
    """Raise an error if a route is neither public nor marked with `requires`."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in PUBLIC_ENDPOINTS and required_action(app, rule.endpoint) is None:
            raise LookupError(f"{rule.rule} names no action that it requires")


def required_action(app: Quart, endpoint: str) -> Action | None:
    action: Action | None = getattr(app.view_functions[endpoint], "required_action", None)
    return action


def authorize(app: Quart, endpoint: str, grant: Grant) -> None:
    """Store the grant for the view, and raise `Forbidden` if it does not allow the action."""
    g.grant = grant
    action = required_action(app, endpoint)
    if action is None:
        raise LookupError(f"{endpoint} names no action that it requires")
    grant.require(action)


def authorize_writes(blueprint: Blueprint, policy: AccessPolicy) -> None:
    """Check before each request to the blueprint that may change something."""

    @blueprint.before_request
    async def authorize_write() -> None:
        if request.method not in SAFE_METHODS:
            policy.authorize_write(caller_of(request))


async def _receive_hello(accept: Callable[[], Awaitable[None]], hellos: PendingHellos) -> str:
    """The key in the first message: browsers can't send headers with a WebSocket handshake.

    Raises `Overloaded` before the handshake is accepted if the client has too many connections that
    have sent no key.
    """
    try:
        async with hellos.waiting(websocket.remote_addr):
            await accept()
            message = from_json(await websocket.receive())
    except (TimeoutError, ValueError):
        raise KeyMissing(HELLO_REQUIRED) from None
    if not isinstance(message, dict) or message.get("type") != "hello":
        raise KeyMissing(HELLO_REQUIRED)
    key = message.get("key")
    if not isinstance(key, str) or not key:
        raise KeyMissing(HELLO_REQUIRED)
    return key


def caller_of(request: BaseRequestWebsocket) -> Caller:
    return Caller(
        address=request.remote_addr,
        host=request.headers.get("Host", ""),
        origin=request.headers.get("Origin"),
        scheme={"ws": "http", "wss": "https"}.get(request.scheme, request.scheme),
        is_forwarded=any(name in request.headers for name in FORWARDING_HEADERS),
    )


def sent_keys(request: BaseRequestWebsocket) -> list[str]:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    bearer = credentials.strip() if scheme.lower() == "bearer" else ""
    return [key for key in (bearer, request.headers.get("Api-Key", "").strip()) if key]
