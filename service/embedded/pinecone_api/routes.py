"""Routing of data plane requests by method and path."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote

from service.embedded.errors import EngineError, engine_errors
from service.embedded.index import EmbeddedIndex
from service.embedded.pinecone_api import (
    document_reads,
    document_writes,
    namespaces,
    records,
    vector_reads,
    vector_writes,
)
from service.inference.reranker import Reranker

Answer = dict[str, Any]
ByBody = Callable[[EmbeddedIndex, bytes], Awaitable[Answer]]
ByParameters = Callable[[EmbeddedIndex, Mapping[str, Any]], Awaitable[Answer]]
InNamespace = Callable[[EmbeddedIndex, str, bytes], Awaitable[Answer]]

BY_BODY: dict[tuple[str, str], ByBody] = {
    ("POST", "/query"): vector_reads.query,
    ("POST", "/vectors/upsert"): vector_writes.upsert,
    ("POST", "/vectors/update"): vector_writes.update,
    ("POST", "/vectors/delete"): vector_writes.delete,
    ("POST", "/vectors/fetch_by_metadata"): vector_reads.fetch_by_metadata,
    ("POST", "/describe_index_stats"): vector_reads.stats,
    ("GET", "/describe_index_stats"): vector_reads.stats,
    ("POST", "/namespaces"): namespaces.create,
}
BY_PARAMETERS: dict[tuple[str, str], ByParameters] = {
    ("GET", "/vectors/fetch"): vector_reads.fetch,
    ("GET", "/vectors/list"): vector_reads.list_ids,
    ("GET", "/namespaces"): namespaces.list_namespaces,
}
IN_NAMESPACE: dict[tuple[str, str], InNamespace] = {
    ("records", "upsert"): records.upsert,
    ("documents", "upsert"): document_writes.upsert,
    ("documents", "search"): document_reads.search,
    ("documents", "fetch"): document_reads.fetch,
    ("documents", "delete"): document_writes.delete,
    ("documents", "update"): document_writes.update,
    ("documents", "list"): document_reads.list_ids,
}
NAMESPACE_ROUTE = re.compile(
    r"/(records)/namespaces/([^/]+)/(\w+)|/namespaces/([^/]+)/(documents)/(\w+)"
)
NAMESPACE = re.compile(r"/namespaces/([^/]+)")


async def answer(
    index: EmbeddedIndex,
    method: str,
    path: str,
    parameters: Mapping[str, Any],
    body: bytes,
    reranker: Reranker | None = None,
) -> Answer:
    """Return the response body, or raise `EngineError`.

    `path` is percent-encoded, so that a namespace may contain a slash. `reranker` is for searches
    that request one.
    """
    with engine_errors():
        if by_body := BY_BODY.get((method, path)):
            return await by_body(index, body)
        if by_parameters := BY_PARAMETERS.get((method, path)):
            return await by_parameters(index, parameters)
        if method == "POST" and (found := NAMESPACE_ROUTE.fullmatch(path)):
            kind, namespace, verb = found[1] or found[5], found[2] or found[4], found[3] or found[6]
            if (kind, verb) == ("records", "search"):
                return await records.search(index, reranker, unquote(namespace), body)
            if in_namespace := IN_NAMESPACE.get((kind, verb)):
                return await in_namespace(index, unquote(namespace), body)
        if found := NAMESPACE.fullmatch(path):
            if method == "GET":
                return await namespaces.describe(index, unquote(found[1]))
            if method == "DELETE":
                return await namespaces.delete(index, unquote(found[1]))
        if path.startswith("/bulk/imports"):
            raise EngineError(
                501, "this index imports nothing from object storage; upsert the records"
            )
        raise EngineError(404, f"{method} {path} is not a route of the data plane")
