"""Requests to every route: for each method of each route, with the action that it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.tenants.world import OWN, TEXT, Stored

READS, WRITES, LISTS = "reads", "writes", "lists"


@dataclass(frozen=True)
class Attempt:
    """One request. `target` is the namespace that it names, or None.

    `kind`: reads need the namespace, writes need all of it, and lists need neither.
    """

    method: str
    path: str
    action: str
    kind: str
    target: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content: bytes | None = None
    hidden_condition: bool = False  # a filter on a field that some callers may not see
    highlights: bool = False
    record: Stored | None = None


SEARCHES = ("/api/semantic-search", "/api/lexical-search", "/api/cascading-retrieval")
STREAM = "/api/cascading-retrieval/stream"
SOCKET = "/api/search/ws"
BY_ID = "/api/records/<id:record_id>"
IMPORT, EVENTS = "/api/imports/<import_id>", "/api/imports/<import_id>/events"
KEYS, KEY, ROTATE = "/api/keys", "/api/keys/<key_id>", "/api/keys/<key_id>/rotate"


def searches(record: Stored) -> list[dict[str, Any]]:
    """Searches that try to see more than they may."""
    base = {"text_query": f"{TEXT} {record.mark}", "namespace": record.namespace, "top_k": 20}
    wider = {"$or": [{"tenant": "b"}, OWN, {"price": {"$gt": 0}}]}
    return [
        base | {"rerank": "none"},
        base | {"fields": ["*"]},
        base | {"fields": ["margin", "tenant", "chunk_text"], "explain": True},
        base | {"filter": wider, "rerank": "none"},
        base | {"filter": {"margin": {"$eq": record.hidden_mark}}, "rerank": "none"},
        base | {"top_k": 1, "rerank": "none"},
    ]


def search_attempts(path: str, record: Stored) -> list[Attempt]:
    attempts = []
    for body in searches(record):
        named = str(body.get("filter", ""))
        hidden = "margin" in named or "tenant" in named
        query = {
            name: json.dumps(value)
            if isinstance(value, dict | bool)
            else ",".join(value)
            if isinstance(value, list)
            else str(value)
            for name, value in body.items()
        }
        common: dict[str, Any] = {
            "action": "search",
            "kind": READS,
            "target": record.namespace,
            "hidden_condition": hidden,
        }
        attempts.append(Attempt("GET", path, query=query, **common))
        attempts.append(Attempt("POST", path, body=body, **common))
    return attempts


def record_attempts(record: Stored) -> list[Attempt]:
    where = {"namespace": record.namespace}
    read: dict[str, Any] = {"action": "records.read", "kind": READS, "target": record.namespace}
    write: dict[str, Any] = {
        "action": "records.write",
        "kind": WRITES,
        "target": record.namespace,
        "query": where,
    }
    return [
        Attempt("GET", "/api/records", query=where, **read),
        Attempt("GET", "/api/records", query=where | {"prefix": "id-"}, **read),
        Attempt("GET", BY_ID, query=where, record=record, **read),
        Attempt("POST", "/api/records", body=[{"_id": "new", "chunk_text": "new"}], **write),
        Attempt("DELETE", BY_ID, record=record, **write),
        Attempt("DELETE", "/api/records", body={"ids": [record.id]}, record=record, **write),
        Attempt("DELETE", "/api/records", body={"filter": {"price": 1}}, record=record, **write),
    ]


def other_attempts(record: Stored) -> list[Attempt]:
    read: dict[str, Any] = {"action": "export", "kind": READS, "target": record.namespace}
    where = {"namespace": record.namespace}
    line = json.dumps({"_id": "imported", "chunk_text": "imported"}).encode()
    return [
        Attempt("GET", "/api/export", query=where, **read),
        Attempt("GET", "/api/export", query=where | {"format": "csv"}, **read),
        Attempt("GET", "/api/export", query=where | {"fields": "margin,tenant"}, **read),
        Attempt(
            "GET",
            "/api/export",
            query=where | {"filter": json.dumps({"margin": "x"})},
            hidden_condition=True,
            **read,
        ),
        Attempt("GET", "/api/export", "export", LISTS, query={"namespace": "*"}),
        Attempt("GET", "/api/stats", "stats", LISTS),
        Attempt("GET", "/api/namespaces", "stats", LISTS),
        Attempt("GET", "/api/imports", "imports", LISTS),
        Attempt(
            "POST",
            "/api/imports",
            "imports",
            WRITES,
            record.namespace,
            query=where | {"format": "ndjson"},
            content=line,
        ),
    ]


def attempts(record: Stored) -> list[Attempt]:
    """Requests about a record, to every route that does not need an id of its own."""
    made = [each for path in (*SEARCHES, STREAM) for each in search_attempts(path, record)]
    return [*made, *record_attempts(record), *other_attempts(record)]
