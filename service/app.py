"""The assembly of the app: settings in, an ASGI application out.

`create_app` opens nothing. Resources are opened in `before_serving`, on one exit stack, and closed
in reverse order in `after_serving`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quart import Quart
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.routing import MapAdapter

from service.access.limiting import choose_limits
from service.access.limiting.account import Limits
from service.access.metrics_policy import MetricsPolicy
from service.access.pending_hellos import PendingHellos
from service.access.policy import AccessPolicy
from service.admission.controller import AdmissionController
from service.audit import AuditLog
from service.backends import choose_backend
from service.backends.search_backend import SearchBackend
from service.caching import choose_store
from service.caching.answer_cache import AnswerCache
from service.caching.store import CacheStore
from service.errors import StartupFailed
from service.indexes.pinecone import OpenLane
from service.indexes.traced_transport import TracedTransport
from service.indexes.transport import PoolTransport
from service.jobs.jobs import Jobs
from service.keys.keys import Keys, keys_file
from service.lifecycle import Lifecycle
from service.records.records import ImportTarget
from service.retrieval.query import StageEvent
from service.retrieval.receipt import Receipt
from service.settings import Settings, load_settings
from service.tracing.setup import choose_tracing, opened_tracing
from service.web import (
    auditing,
    authentication,
    errors,
    live_grants,
    openapi,
    rate_limits,
    request_context,
)
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
from service.web.metrics.metrics import Metrics
from service.web.metrics.middleware import RequestMetrics
from service.web.metrics.route_labels import RouteLabels
from service.web.metrics.state import Sources
from service.web.metrics.view import metrics_blueprint
from service.web.metrics.workers import WorkerGroup
from service.web.operations import operations_blueprint
from service.web.proxy_headers import trust_proxies
from service.web.records import routes as records
from service.web.search.as_you_type import websocket_blueprint
from service.web.search.cursors import Cursors
from service.web.search.highlighting import ResultHighlighter
from service.web.search.parsing import RequestParser
from service.web.search.rendering import AnswerRenderer
from service.web.search.routes import search_blueprint
from service.web.search.service import SearchService
from service.web.search.stream import stream_blueprint
from service.web.tracing.requests import trace_requests
from service.web.tracing.searches import TracedSearchService
from service.web.websocket_connection import WebSocketRegistry

if TYPE_CHECKING:
    from service.tracing.spans import Tracing


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
    store = choose_store(settings)
    tracing = choose_tracing(os.environ)
    backend = _create_backend(settings, open_lane, store, tracing)
    admission = AdmissionController(settings.max_in_flight, settings.max_waiting)
    keys = Keys(keys_file(settings.data_dir), _database_url(settings))
    policy = AccessPolicy(
        settings.service_keys,
        settings.host,
        settings.trusted_proxy_hops,
        settings.origins,
        settings.hosts,
        keys.ring,
    )
    limits = choose_limits(settings)
    jobs = _create_jobs(settings, backend, admission, lifecycle, limits)
    metrics = Metrics()
    answers, parser, service = _create_search(settings, store, backend, metrics, tracing)

    app = _create_quart(settings, lifecycle)
    requests = RequestMetrics(metrics, RouteLabels(app.url_map))
    exposition = Exposition(
        Sources(settings.backend, metrics, requests, admission, answers, store, backend, jobs),
        workers,
    )
    app.extensions |= {
        "cascade": backend,
        "cascade.admission": admission,
        "cascade.policy": policy,
        "cascade.requests": requests,
    }
    openapi.install(app, policy)
    access_log = request_context.install(app, lifecycle, log_queries=settings.log_queries)
    audit = AuditLog(settings.audit_log, settings.secrets)
    auditing.install(app, audit)
    errors.install(app)
    authentication.install(app, policy, PendingHellos())
    live = live_grants.install(app, policy)
    rate_limits.install(app, limits)
    for blueprint in (
        operations_blueprint(lifecycle, backend),
        documentation_blueprint(),
        search_blueprint(parser, service),
        stream_blueprint(parser, service),
        websocket_blueprint(
            parser, service, admission, settings.typing_pause_ms / 1000, access_log.log_search
        ),
        records.records_blueprint(settings, backend, policy),
        imports.imports_blueprint(settings, jobs, policy),
        export_blueprint(settings, backend),
        metrics_blueprint(exposition, _metrics_policy(settings)),
        keys_blueprint(keys, policy),
    ):
        app.register_blueprint(blueprint)
    authentication.check_routes(app)
    resources = contextlib.AsyncExitStack()

    @app.before_serving
    async def open_resources() -> None:
        await resources.enter_async_context(opened_tracing(tracing))
        resources.enter_context(audit.opened())
        await resources.enter_async_context(keys.opened())
        resources.push_async_callback(store.close)  # after the last write of the backend
        await resources.enter_async_context(backend.opened())
        resources.push_async_callback(answers.close)
        await store.open(backend.location)
        resources.push_async_callback(limits.close)
        await limits.open(backend.location)
        await resources.enter_async_context(jobs.opened())
        await keys.wait_until_read()
        await resources.enter_async_context(live.checked())
        await resources.enter_async_context(exposition.opened())

    @app.after_serving
    async def close_resources() -> None:
        lifecycle.drain()  # unless the server has
        await resources.aclose()
        admission.close()

    asgi_app = requests.measure(_middleware(app, settings, admission, lifecycle, tracing))
    app.asgi_app = asgi_app  # type: ignore[assignment,method-assign]
    return app


def _middleware(
    app: Quart,
    settings: Settings,
    admission: AdmissionController,
    lifecycle: Lifecycle,
    tracing: Tracing | None,
) -> ASGIApp:
    """What a request passes before the app, the last part first."""
    gate = AdmissionMiddleware(app.asgi_app, admission, lifecycle)
    middleware = require_canonical_path(gate, lifecycle)
    middleware = allow_origins(middleware, settings.origins, lifecycle)
    middleware = trace_requests(app, middleware, tracing)
    return trust_proxies(middleware, settings.trusted_proxy_hops)


def _create_backend(
    settings: Settings, open_lane: OpenLane | None, store: CacheStore, tracing: Tracing | None
) -> SearchBackend:
    make_transport = PoolTransport if tracing is None else partial(TracedTransport, tracing=tracing)
    return SearchBackend(
        choose_backend(settings, open_lane, make_transport),
        settings.upserts_at_once,
        store.invalidate,
        tracing,
    )


def _create_search(
    settings: Settings,
    store: CacheStore,
    backend: SearchBackend,
    metrics: Metrics,
    tracing: Tracing | None,
) -> tuple[AnswerCache[StageEvent, Receipt], RequestParser, SearchService]:
    # Several processes can cache only what all of them see, and learn of each other's writes.
    caches = settings.redis_url is not None or settings.web_concurrency == 1
    answers: AnswerCache[StageEvent, Receipt] = AnswerCache(
        store, settings.cache_ttl if caches else 0
    )
    cursor_ttl_s = settings.cursor_ttl + settings.cache_ttl  # a cached answer has a cursor, too
    cursors = Cursors(store, cursor_ttl_s, enabled=caches)
    parser = RequestParser(settings, reranks_by_default=backend.reranks_by_default)
    renderer = AnswerRenderer(settings.pinecone_text_field, settings.max_answer_bytes)
    highlighter = ResultHighlighter(settings.pinecone_text_field, backend)
    parts = backend, renderer, highlighter, answers, cursors, metrics
    if tracing is None:
        return answers, parser, SearchService(*parts)
    log_queries = settings.log_queries
    traced = TracedSearchService(*parts, tracing=tracing, log_queries=log_queries)
    return answers, parser, traced


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


def _create_jobs(
    settings: Settings,
    backend: SearchBackend,
    admission: AdmissionController,
    lifecycle: Lifecycle,
    limits: Limits,
) -> Jobs:
    timeout_s = settings.records_timeout_ms / 1000
    return Jobs(
        Path(settings.data_dir, "imports"),
        _database_url(settings),
        ImportTarget(lambda: backend.all_records, settings.pinecone_text_field, timeout_s),
        lifecycle,
        max_bytes=settings.max_import_bytes,
        batches_at_once=settings.import_batches_at_once,
        request_count=lambda: admission.admitted,
        limits=limits,
    )


def _database_url(settings: Settings) -> str | None:
    return settings.database_url.get_secret_value() if settings.database_url else None


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
