"""The assembly of the app: settings in, an ASGI application out.

`create_app` opens nothing. Resources are opened in `before_serving`, on one exit stack, and closed
in reverse order in `after_serving`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from quart import Blueprint, Quart
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.routing import MapAdapter

from service.access.metrics_policy import MetricsPolicy
from service.access.pending_hellos import PendingHellos
from service.components import Components, create_components
from service.errors import StartupFailed
from service.indexes.pinecone import OpenLane
from service.lifecycle import Lifecycle
from service.settings import Settings, load_settings
from service.web import (
    auditing,
    authentication,
    errors,
    live_grants,
    rate_limits,
    request_context,
)
from service.web.access_log import AccessLog
from service.web.admission_middleware import AdmissionMiddleware
from service.web.asgi import ASGIApp
from service.web.browsers.cors import allow_origins
from service.web.browsers.documentation import documentation_blueprint
from service.web.canonical_path import require_canonical_path
from service.web.export.routes import export_blueprint
from service.web.http_connection import HTTPConnection, request_class
from service.web.imports import routes as imports
from service.web.keys.routes import keys_blueprint
from service.web.metrics.exposition import Exposition
from service.web.metrics.middleware import RequestMetrics
from service.web.metrics.route_labels import RouteLabels
from service.web.metrics.state import Sources
from service.web.metrics.view import metrics_blueprint
from service.web.metrics.workers import WorkerGroup
from service.web.openapi.serving import serve_document
from service.web.operations import operations_blueprint
from service.web.proxy_headers import trust_proxies
from service.web.records import routes as records
from service.web.search.as_you_type import websocket_blueprint
from service.web.search.routes import search_blueprint
from service.web.search.stream import stream_blueprint
from service.web.tracing.requests import trace_requests
from service.web.websocket_connection import WebSocketRegistry


class Cascade(Quart):
    """Quart without its use of the Host header, and without tracebacks of `StartupFailed`."""

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        """Match the path only: no route depends on the host."""
        if request is None:
            return None
        return self.url_map.bind(
            "localhost",
            script_name=request.root_path,
            url_scheme=request.scheme,
            default_method=request.method,
            path_info=request.path,
            query_args=request.query_string.decode("latin1"),
        )

    def log_exception(self, *arguments: Any) -> None:
        """The process prints `StartupFailed` as one line. The exception is the last argument; since
        Quart 0.23 there is one before it.
        """
        if not isinstance(arguments[-1][1], StartupFailed):
            super().log_exception(*arguments)


def create_app(
    settings: Settings | None = None,
    lifecycle: Lifecycle | None = None,
    open_lane: OpenLane | None = None,
    workers: WorkerGroup | None = None,
) -> Quart:
    """Create the service as an application, or raise `StartupFailed`.

    `open_lane` makes a client of an index; the default is Pinecone's. `workers` are the processes
    of which this is one, if a supervisor has started several.
    """
    settings = settings or load_settings(Path(".env"))
    lifecycle = lifecycle or Lifecycle()
    parts = create_components(settings, lifecycle, open_lane)
    app = _create_quart(settings, lifecycle)
    requests = RequestMetrics(parts.metrics, RouteLabels(app.url_map))
    exposition = _create_exposition(settings, parts, requests, workers)
    app.extensions |= {
        "cascade": parts.backend,
        "cascade.admission": parts.admission,
        "cascade.policy": parts.policy,
        "cascade.requests": requests,
    }
    serve_document(app, parts.policy)
    access_log = request_context.install(app, lifecycle, log_queries=settings.log_queries)
    auditing.install(app, parts.audit)
    errors.install(app)
    authentication.install(app, parts.policy, PendingHellos())
    live = live_grants.install(app, parts.policy)
    rate_limits.install(app, parts.limits)
    for blueprint in _blueprints(settings, lifecycle, parts, exposition, access_log):
        app.register_blueprint(blueprint)
    authentication.check_routes(app)
    resources = contextlib.AsyncExitStack()

    @app.before_serving
    async def open_resources() -> None:
        await resources.enter_async_context(parts.opened())
        await resources.enter_async_context(live.checked())
        await resources.enter_async_context(exposition.opened())

    @app.after_serving
    async def close_resources() -> None:
        lifecycle.drain()  # unless the server has
        await resources.aclose()

    asgi_app = requests.measure(_middleware(app, settings, lifecycle, parts))
    app.asgi_app = asgi_app  # type: ignore[assignment,method-assign]
    return app


def _blueprints(
    settings: Settings,
    lifecycle: Lifecycle,
    parts: Components,
    exposition: Exposition,
    access_log: AccessLog,
) -> list[Blueprint]:
    """The routes."""
    pause_s = settings.typing_pause_ms / 1000
    return [
        operations_blueprint(lifecycle, parts.backend),
        documentation_blueprint(),
        search_blueprint(parts.parser, parts.searches),
        stream_blueprint(parts.parser, parts.searches),
        websocket_blueprint(
            parts.parser, parts.searches, parts.admission, pause_s, access_log.log_search
        ),
        records.records_blueprint(settings, parts.backend, parts.policy),
        imports.imports_blueprint(settings, parts.jobs, parts.policy),
        export_blueprint(settings, parts.backend),
        metrics_blueprint(exposition, _metrics_policy(settings)),
        keys_blueprint(parts.keys, parts.policy),
    ]


def _create_exposition(
    settings: Settings,
    parts: Components,
    requests: RequestMetrics,
    workers: WorkerGroup | None,
) -> Exposition:
    sources = Sources(
        settings.backend,
        parts.metrics,
        requests,
        parts.admission,
        parts.answers,
        parts.store,
        parts.backend,
        parts.jobs,
    )
    return Exposition(sources, workers)


def _middleware(app: Quart, settings: Settings, lifecycle: Lifecycle, parts: Components) -> ASGIApp:
    """What a request passes before the app, the last part first."""
    gate = AdmissionMiddleware(app.asgi_app, parts.admission, lifecycle)
    middleware = require_canonical_path(gate, lifecycle)
    middleware = allow_origins(middleware, settings.origins, lifecycle)
    middleware = trace_requests(app, middleware, parts.tracing)
    return trust_proxies(middleware, settings.trusted_proxy_hops)


def _metrics_policy(settings: Settings) -> MetricsPolicy:
    return MetricsPolicy(
        settings.metrics_keys,
        settings.metrics_networks,
        settings.hosts,
        settings.trusted_proxy_hops,
    )


def _create_quart(settings: Settings, lifecycle: Lifecycle) -> Quart:
    app = Cascade("service", static_folder=None)
    limits = {records.PATH: settings.max_records_body_bytes}
    app.request_class = request_class(limits, streamed={imports.PATH})
    app.asgi_http_class = HTTPConnection
    WebSocketRegistry(lifecycle).install(app)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
        BODY_TIMEOUT=settings.body_timeout_s,
        RESPONSE_TIMEOUT=settings.body_timeout_s,
    )
    app.url_map.merge_slashes = False  # its redirects would trust the Host header
    return app


@contextlib.asynccontextmanager
async def running(app: Quart) -> AsyncIterator[Quart]:
    """Open the app, and close it at the end of the block, for use without a server.

    A framework that mounts another application does not pass its lifespan on. So, in Starlette:

        search = create_app()

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with running(search):
                yield

        app = Starlette(routes=[Mount("/search", app=search)], lifespan=lifespan)
    """
    await app.startup()
    try:
        yield app
    finally:
        await app.shutdown()
