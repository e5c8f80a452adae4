"""Labels come from the routes, never from paths."""

from __future__ import annotations

import pytest
from werkzeug.routing import Map, Rule

from service.web.metrics.route_labels import RouteLabels


@pytest.fixture
def routes() -> RouteLabels:
    return RouteLabels(
        Map(
            [
                Rule("/api/records", endpoint="records", methods=["GET", "POST"]),
                Rule("/api/records/<record_id>", endpoint="record", methods=["DELETE"]),
                Rule("/api/imports/<id>/events", endpoint="events", methods=["GET"]),
                Rule("/api/search/ws", endpoint="ws", websocket=True),
            ]
        )
    )


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/api/records", "/api/records"),
        ("/api/records/cat", "/api/records/{record_id}"),  # although a GET would not be allowed
        ("/api/imports/7/events", "/api/imports/{id}/events"),
        ("/api/search/ws", "/api/search/ws"),
        ("/api/records/cat/", "unmatched"),
        ("/nowhere", "unmatched"),
        ("//api/records", "unmatched"),
        ("", "unmatched"),
        ("\udcff\x00<id>", "unmatched"),
    ],
)
def test_route_label_is_template_of_route(routes: RouteLabels, path: str, label: str) -> None:
    assert routes.label(path) == label
