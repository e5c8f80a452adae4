"""The `route` label of a request: the template of its route, never its path.

The label is known before routing, since requests that are rejected never get there.
"""

from __future__ import annotations

import re
from functools import cached_property

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, MapAdapter, Rule

from service.web.canonical_path import is_canonical

UNMATCHED = "unmatched"

_PARAMETER = re.compile("<(?:[^:>]*:)?([^>]+)>")


class RouteLabels:
    """Has a label for each rule of a URL map, and one for all other paths."""

    def __init__(self, url_map: Map) -> None:
        self._url_map = url_map
        self._adapter = url_map.bind("localhost")

    @cached_property
    def _static(self) -> dict[str, str]:
        """The rules without parameters, once all routes are registered."""
        return {each.rule: each.rule for each in self._url_map.iter_rules() if not each.arguments}

    def label(self, path: str) -> str:
        return self._static.get(path) or self._match(path)

    def _match(self, path: str) -> str:
        """Werkzeug's match of a path with parameters, or of one that does not exist."""
        if not is_canonical(path):  # it is refused, but Werkzeug would find a route
            return UNMATCHED
        try:
            return _template(_rule(self._adapter, path, "GET"))
        except MethodNotAllowed as exc:
            return _template(_rule(self._adapter, path, next(iter(exc.valid_methods or ()), "GET")))
        except HTTPException:
            return UNMATCHED


def _rule(adapter: MapAdapter, path: str, method: str) -> Rule:
    rule, _ = adapter.match(path, method, return_rule=True)
    return rule


def _template(rule: Rule) -> str:
    return _PARAMETER.sub(r"{\1}", rule.rule)
