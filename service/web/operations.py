"""Health checks."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field
from quart import Blueprint, Response

from service.backends.search_backend import SearchBackend
from service.lifecycle import Lifecycle
from service.web.openapi.operation import documented
from service.web.responses import json_response


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
    @documented("operations", "healthz", Liveness, is_public=True)
    async def healthz() -> Response:
        """Check that the process is running. Does not contact any index."""
        return json_response({"status": "ok"})

    @blueprint.get("/readyz")
    @documented("operations", "readyz", {200: Readiness, 503: Readiness}, is_public=True)
    async def readyz() -> Response:
        """Check that every index answers, and that the service is not shutting down."""
        if lifecycle.draining:
            return json_response({"status": "draining", "indexes": {}}, 503)
        indexes = {each.index: each.error or "ok" for each in await backend.health()}
        is_ready = bool(indexes) and set(indexes.values()) == {"ok"}
        status = "ready" if is_ready else "not ready"
        return json_response({"status": status, "indexes": indexes}, 200 if is_ready else 503)

    return blueprint
