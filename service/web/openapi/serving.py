"""Serves the OpenAPI document at /api/openapi.json."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any

import orjson
from quart import Quart, Response, request

from service.access.policy import AccessPolicy
from service.web.openapi.document import KEYS, build_document
from service.web.responses import JSON


def serve_document(app: Quart, policy: AccessPolicy) -> None:
    """Serve the document at /api/openapi.json. `browsers/documentation.py` has its page."""
    documents: dict[bool, ServedDocument] = {}

    @app.before_serving
    async def build() -> None:
        content = build_document(app)
        documents[False] = ServedDocument(content)
        documents[True] = ServedDocument(content | {"security": [{name: []} for name in KEYS]})

    @app.get("/api/openapi.json", endpoint="openapi")
    async def openapi() -> Response:
        if not documents:  # an app that is called without being served
            await build()
        return documents[policy.requires_key].response()


@dataclass(slots=True)
class ServedDocument:
    """The document as it is sent."""

    content: dict[str, Any]
    plain: bytes = field(init=False)
    compressed: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.plain = orjson.dumps(self.content)
        self.compressed = gzip.compress(self.plain)

    def response(self) -> Response:
        headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        response = Response(self.plain, content_type=JSON, headers=headers)
        if request.root_path:  # mounted in another application
            servers = [{"url": request.root_path}]
            response.set_data(orjson.dumps(self.content | {"servers": servers}))
        elif request.accept_encodings.quality("gzip"):
            response.set_data(self.compressed)
            response.headers["Content-Encoding"] = "gzip"
        return response
