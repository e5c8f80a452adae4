"""`/metrics`: the endpoint that Prometheus scrapes."""

from __future__ import annotations

from quart import Blueprint, Response, request

from service.access.metrics_policy import MetricsPolicy
from service.web.authentication import caller_of, sent_keys
from service.web.metrics.exposition import Exposition

PATH = "/metrics"


def metrics_blueprint(exposition: Exposition, policy: MetricsPolicy) -> Blueprint:
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get(PATH)
    async def metrics() -> Response:
        """Metrics in Prometheus's text format. They need no slot, so they answer under overload."""
        policy.authorize(caller_of(request), sent_keys(request))
        body, content_type = await exposition.scrape(request.headers.get("Accept", ""))
        headers = {"Cache-Control": "no-store"}
        return Response(body, content_type=content_type, headers=headers)

    return blueprint
