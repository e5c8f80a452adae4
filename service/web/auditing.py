"""Records in the audit log what requests have changed, exported, or were refused.

Every route that may change something is recorded, by the name of its endpoint unless it has a
better one here. A view adds what only it knows with `audit_details`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Quart, g, request, websocket
from quart.wrappers.base import BaseRequestWebsocket

from service.audit import AuditLog
from service.web.access_log import current_state, request_fields
from service.web.request_context import unwrap

ACTIONS = {
    "records.upsert_records": "records.upsert",
    "records.delete_record": "records.delete",
    "records.delete_records": "records.delete",
    "imports.begin_import": "imports.create",
    "imports.cancel_import": "imports.cancel",
    "export.export": "records.export",
    "keys.create_key": "keys.create",
    "keys.revoke_key": "keys.revoke",
    "keys.rotate_key": "keys.rotate",
}
SEARCHES = {"search", "stream"}  # blueprints that take a POST for a read
READ_METHODS = {"GET", "HEAD", "OPTIONS"}
WITHOUT_CONTENT = {"HEAD", "OPTIONS"}
ACCESS = "access"  # the action of a refused request that would only have read
REFUSED = {401, 403, 421}
FIRST_ERROR = 400


def audit_details(**details: Any) -> None:
    """Add to the audit record of the current request: counts and names, never contents."""
    g.audit = g.get("audit", {}) | details


def action_of(endpoint: str | None, method: str) -> str | None:
    """The action of a request that is recorded however it ends; None for one that only reads."""
    if endpoint is None or method in WITHOUT_CONTENT:
        return None
    if endpoint in ACTIONS:
        return ACTIONS[endpoint]
    if method in READ_METHODS or endpoint.partition(".")[0] in SEARCHES:
        return None
    return endpoint


def install(app: Quart, audit: AuditLog) -> None:
    """Record at the end of each request: also of one that was cancelled, whose write goes on."""

    @app.teardown_request
    async def record_request(_: BaseException | None) -> None:
        state, connection = current_state(), unwrap(request)
        action = action_of(connection.endpoint, connection.method)
        if action is not None or state.get("status") in REFUSED:
            _record(audit, action or ACCESS, connection, state)

    @app.teardown_websocket
    async def record_websocket(_: BaseException | None) -> None:
        state = current_state()
        if state.get("status") in REFUSED:
            _record(audit, ACCESS, unwrap(websocket), state)


def _record(
    audit: AuditLog, action: str, connection: BaseRequestWebsocket, state: Mapping[str, Any]
) -> None:
    status = state.get("status")
    outcome = _outcome(status)
    details = {
        "route": connection.url_rule.rule if connection.url_rule else None,
        "status": status,
        "code": state.get("code"),
        "reason": state.get("detail") if outcome == "refused" else None,
        **request_fields(connection, state),
        **state.get("audit", {}),
    }
    audit.record(action, outcome, **details)


def _outcome(status: int | None) -> str:
    if status is None:
        return "cancelled"
    if status in REFUSED:
        return "refused"
    return "success" if status < FIRST_ERROR else "failed"
