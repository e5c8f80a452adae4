"""Pure assembly: settings in, an ASGI application out.

`create_app` opens nothing. What is open while the app serves is opened in `before_serving`, on one
exit stack, and closed in reverse in `after_serving`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from quart import Quart
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.exceptions import BadHost
from werkzeug.routing import MapAdapter

from service.access.door import Door
from service.admission.places import Places
from service.backend import Backend
from service.errors import StartupFailed
from service.indexes.pinecone import OpenLane, open_lane
from service.lifecycle import Lifecycle
from service.settings import Settings, load_settings
from service.sources import sources_for
from service.web import access, documentation, envelope, errors, records
from service.web.bodies import request_class
from service.web.gate import Gate
from service.web.operations import operations_blueprint
from service.web.proxy import trust_proxies
from service.web.search import search_blueprint


class Cascade(Quart):
    """Quart, but a failure to start is said once, by whoever started it, and not as a traceback."""

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        """Nothing here depends on the Host header, so one that can't be a host is no matter."""
        try:
            return super().create_url_adapter(request)
        except BadHost:
            if request is None:
                return None
            return self.url_map.bind(
                "localhost", path_info=request.path, default_method=request.method
            )

    def log_exception(self, exception_info: Any) -> None:
        if not isinstance(exception_info[1], StartupFailed):
            super().log_exception(exception_info)


def create_app(
    settings: Settings | None = None,
    lifecycle: Lifecycle | None = None,
    open_lane: OpenLane = open_lane,
) -> Quart:
    """The service as an application; raises `StartupFailed` where the settings don't allow one.

    `open_lane` is how a client of an index is made, for those who have a better one.
    """
    settings = settings or load_settings(Path(".env"))
    lifecycle = lifecycle or Lifecycle()
    backend = Backend(sources_for(settings, open_lane), settings.upserts_at_once)
    places = Places(settings.max_in_flight, settings.max_waiting)
    door = Door(settings.service_keys, settings.host, settings.trusted_proxy_hops)

    app = Cascade("service", static_folder=None)
    app.request_class = request_class({records.PATH: settings.max_records_body_bytes})
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
        BODY_TIMEOUT=settings.body_timeout_s,
        RESPONSE_TIMEOUT=settings.body_timeout_s,
    )
    app.url_map.merge_slashes = False  # a redirect would be to whatever the Host header says
    app.extensions["cascade"] = backend
    app.extensions["cascade.places"] = places
    documentation.install(app)
    envelope.install(app, lifecycle)
    errors.install(app)
    access.install(app, door)
    app.register_blueprint(operations_blueprint(lifecycle, backend.health))
    app.register_blueprint(search_blueprint(settings, backend))
    records.install(app, settings, backend, door)

    resources = contextlib.AsyncExitStack()

    @app.before_serving
    async def open_backend() -> None:
        await resources.enter_async_context(backend.opened())

    @app.after_serving
    async def close_backend() -> None:
        await resources.aclose()
        places.close()

    gate = Gate(app.asgi_app, places, lifecycle)
    app.asgi_app = trust_proxies(gate, settings.trusted_proxy_hops)  # type: ignore[assignment,method-assign]
    return app


@contextlib.asynccontextmanager
async def running(app: Quart) -> AsyncIterator[Quart]:
    """Open the app, and close it on the way out, where no server does it.

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
