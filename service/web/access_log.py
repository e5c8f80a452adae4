"""The access log: one line for each request, and one for each WebSocket connection.

A line says who asked for what, and how it ended. It never has the query string, and the text of a
query only with LOG_QUERIES. Whatever a client has chosen goes through `one_line`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quart import g
from quart.wrappers.base import BaseRequestWebsocket

from service.logs import one_line, query_var
from service.retrieval.query import SearchQuery

if TYPE_CHECKING:
    from service.web.search.parsing import ParsedSearch

logger = logging.getLogger("service.access")

PROBES = {"/healthz", "/readyz", "/metrics"}  # logged at level DEBUG
NO_ANSWER = 499  # nginx's status of a request whose client has left
CANCELLED = "cancelled"


def note_query(query: SearchQuery) -> None:
    """Keep what the line of the current request says about its search."""
    g.namespace = query.namespace
    g.query = query.text
    query_var.set(query.text)


class AccessLog:
    def __init__(self, *, log_queries: bool = False) -> None:
        self._log_queries = log_queries

    def log(
        self, connection: BaseRequestWebsocket, status: int, seconds: float, timing: str = ""
    ) -> None:
        """Log a request or a WebSocket connection that has ended."""
        path = connection.path
        level = logging.DEBUG if path in PROBES else logging.INFO
        if not logger.isEnabledFor(level):
            return
        method, path = one_line(connection.method), one_line(path)
        state = current_state()
        code = state.get("code")
        fields = {
            "method": method,
            "path": path,
            "route": connection.url_rule.rule if connection.url_rule else None,
            "status": status,
            "code": code,
            "ms": round(seconds * 1000, 3),
            **request_fields(connection, state),
            "searches": state.get("searches"),
            "query": self._query(state),
            "timing": timing,
        }
        outcome = f"{status} {code}" if code else status
        shown = path.replace(" ", "%20")  # so that no path looks like a path and an outcome
        logger.log(level, "%s %s %s", method, shown, outcome, extra=fields)

    def log_search(self, search: ParsedSearch) -> None:
        """Count a search over a WebSocket, whose own line follows when it is closed."""
        note_query(search.query)
        g.searches = g.get("searches", 0) + 1
        if self._log_queries:
            fields = {
                "mode": search.mode,
                "namespace": one_line(search.query.namespace),
                "query": one_line(search.query.text),
            }
            logger.info("search over a WebSocket: %s", fields["query"], extra=fields)

    def _query(self, state: Mapping[str, Any]) -> str | None:
        query = state.get("query") if self._log_queries else None
        return one_line(query) if query else None


def current_state() -> Mapping[str, Any]:
    """What is kept for the current request, without the cost of Quart's proxy at each use."""
    state: Mapping[str, Any] = vars(g._get_current_object())
    return state


def request_fields(connection: BaseRequestWebsocket, state: Mapping[str, Any]) -> dict[str, Any]:
    """Who sent a request, and for which namespace; None for what is not known."""
    grant = state.get("grant")
    namespace = state.get("namespace")
    return {
        "client": one_line(connection.remote_addr or "") or None,
        "key_id": (grant.key_id or None) if grant is not None else None,
        "key_name": (one_line(grant.key_name) or None) if grant is not None else None,
        "namespace": one_line(namespace) if namespace else None,
    }
