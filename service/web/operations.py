"""What whoever runs the service needs: is it alive, is it ready, what can it do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, Field
from quart import Blueprint, Response, redirect, url_for
from quart_schema import document_response, hide, tag
from werkzeug.wrappers import Response as AnyResponse

from service.lifecycle import Lifecycle
from service.web.search.rendering import json_response

DOCS = Path(__file__).parent / "ui" / "docs.html"
PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Liveness(BaseModel):
    """The process lives."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether searches would be answered just now."""

    status: Literal["ready", "not ready", "draining"]
    indexes: dict[str, str] = Field(
        description="Per index: ok, the code of its error, or how far its rebuild is."
    )


class Health(Protocol):
    """Whether one index answers; `error` is a code, or says how far a rebuild is."""

    @property
    def index(self) -> str: ...

    @property
    def error(self) -> str | None: ...


def operations_blueprint(
    lifecycle: Lifecycle, health: Callable[[], Awaitable[Sequence[Health]]]
) -> Blueprint:
    """Probes, and the way to the documentation."""
    blueprint = Blueprint("operations", __name__)

    @blueprint.get("/healthz")
    @tag(["operations"])
    @document_response(Liveness, 200)
    async def healthz() -> Response:
        """The process lives. Asks nobody."""
        return json_response({"status": "ok"})

    @blueprint.get("/readyz")
    @tag(["operations"])
    @document_response(Readiness, 200)
    @document_response(Readiness, 503)
    async def readyz() -> Response:
        """Every index answers, and the process is not on its way out."""
        if lifecycle.draining:
            return json_response({"status": "draining", "indexes": {}}, 503)
        indexes = {each.index: each.error or "ok" for each in await health()}
        ready = bool(indexes) and set(indexes.values()) == {"ok"}
        status = "ready" if ready else "not ready"
        return json_response({"status": status, "indexes": indexes}, 200 if ready else 503)

    @blueprint.get("/")
    @hide
    async def root() -> AnyResponse:
        return redirect(url_for("operations.docs"))

    @blueprint.get("/api/docs")
    @hide
    async def docs() -> Response:
        """The documentation as a page of our own: it works without a network."""
        return Response(
            DOCS.read_bytes(),
            content_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": PAGE_POLICY},
        )

    return blueprint
