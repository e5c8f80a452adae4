"""Health checks, and the page that shows the API documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field
from quart import Blueprint, Response, redirect, url_for
from quart_schema import document_response, hide, tag
from werkzeug.wrappers import Response as AnyResponse

from service.backends.search_backend import SearchBackend
from service.lifecycle import Lifecycle
from service.web.responses import json_response

DOCS_PAGE = Path(__file__).parent / "ui" / "docs.html"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Liveness(BaseModel):
    """The process is running."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether the service can answer searches."""

    status: Literal["ready", "not ready", "draining"]
    indexes: dict[str, str] = Field(
        description="The state of each index: `ok`, an error code, or the progress of its rebuild."
    )


def operations_blueprint(lifecycle: Lifecycle, backend: SearchBackend) -> Blueprint:
    blueprint = Blueprint("operations", __name__)

    @blueprint.get("/healthz")
    @tag(["operations"])
    @document_response(Liveness, 200)
    async def healthz() -> Response:
        """Check that the process is running. Does not contact any index."""
        return json_response({"status": "ok"})

    @blueprint.get("/readyz")
    @tag(["operations"])
    @document_response(Readiness, 200)
    @document_response(Readiness, 503)
    async def readyz() -> Response:
        """Check that every index answers, and that the service is not shutting down."""
        if lifecycle.draining:
            return json_response({"status": "draining", "indexes": {}}, 503)
        indexes = {each.index: each.error or "ok" for each in await backend.health()}
        is_ready = bool(indexes) and set(indexes.values()) == {"ok"}
        status = "ready" if is_ready else "not ready"
        return json_response({"status": status, "indexes": indexes}, 200 if is_ready else 503)

    @blueprint.get("/")
    @hide
    async def root() -> AnyResponse:
        return redirect(url_for("operations.docs"))

    @blueprint.get("/api/docs")
    @hide
    async def docs() -> Response:
        """Serve our own page rather than Swagger UI, which loads its code from a CDN."""
        return Response(
            DOCS_PAGE.read_bytes(),
            content_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY},
        )

    return blueprint
