"""The page that shows the API documentation, and the short paths that lead to it."""

from __future__ import annotations

from pathlib import Path

from quart import Blueprint, Response, redirect, url_for
from werkzeug.wrappers import Response as AnyResponse

from service.web.browsers.security_headers import EVERY_PAGE, content_security_policy

PAGE = Path(__file__).parent.parent / "ui" / "docs.html"


def documentation_blueprint() -> Blueprint:
    blueprint = Blueprint("documentation", __name__)
    text = PAGE.read_text(encoding="utf-8")
    security = content_security_policy(text)

    @blueprint.after_request
    async def protect(response: AnyResponse) -> AnyResponse:
        response.headers.extend(EVERY_PAGE)
        response.headers["Content-Security-Policy"] = security
        response.headers["Cache-Control"] = "no-cache"  # the next version has another page
        return response

    @blueprint.get("/api/docs")
    async def page() -> Response:
        """Serve our own page rather than Swagger UI, which loads its code from a CDN."""
        return Response(text, content_type="text/html; charset=utf-8")

    @blueprint.get("/")
    async def root() -> AnyResponse:
        return redirect(url_for("documentation.page"))

    blueprint.add_url_rule("/docs", "root")

    @blueprint.get("/openapi.json")
    async def openapi() -> AnyResponse:
        return redirect(url_for("openapi"))

    return blueprint
