"""Which address of the data plane is answered by what."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote

from service.embedded.index import EmbeddedIndex
from service.embedded.plane import documents, namespaces, records, vectors
from service.embedded.plane.refusals import Refused, told
from service.inference.port import Reranker

Answer = dict[str, Any]
ByBody = Callable[[EmbeddedIndex, bytes], Awaitable[Answer]]
ByParameters = Callable[[EmbeddedIndex, Mapping[str, Any]], Awaitable[Answer]]
InNamespace = Callable[[EmbeddedIndex, str, bytes], Awaitable[Answer]]

BY_BODY: dict[tuple[str, str], ByBody] = {
    ("POST", "/query"): vectors.query,
    ("POST", "/vectors/upsert"): vectors.upsert,
    ("POST", "/vectors/update"): vectors.update,
    ("POST", "/vectors/delete"): vectors.delete,
    ("POST", "/vectors/fetch_by_metadata"): vectors.fetch_by_metadata,
    ("POST", "/describe_index_stats"): vectors.stats,
    ("GET", "/describe_index_stats"): vectors.stats,
    ("POST", "/namespaces"): namespaces.create,
}
BY_PARAMETERS: dict[tuple[str, str], ByParameters] = {
    ("GET", "/vectors/fetch"): vectors.fetch,
    ("GET", "/vectors/list"): vectors.list_ids,
    ("GET", "/namespaces"): namespaces.listed,
}
IN_NAMESPACE: dict[tuple[str, str], InNamespace] = {
    ("records", "upsert"): records.upsert,
    ("documents", "upsert"): documents.upsert,
    ("documents", "search"): documents.search,
    ("documents", "fetch"): documents.fetch,
    ("documents", "delete"): documents.delete,
    ("documents", "update"): documents.update,
    ("documents", "list"): documents.list_ids,
}
ADDRESS = re.compile(r"/(records)/namespaces/([^/]+)/(\w+)|/namespaces/([^/]+)/(documents)/(\w+)")
NAMESPACE = re.compile(r"/namespaces/([^/]+)")


async def answer(
    index: EmbeddedIndex,
    method: str,
    path: str,
    parameters: Mapping[str, Any],
    body: bytes,
    reranker: Reranker | None = None,
) -> Answer:
    """The body of the answer; `Refused` says why there is none.

    The path is as it is sent, so that a namespace may have a slash in it. `reranker` is for
    searches that ask for one.
    """
    with told():
        if by_body := BY_BODY.get((method, path)):
            return await by_body(index, body)
        if by_parameters := BY_PARAMETERS.get((method, path)):
            return await by_parameters(index, parameters)
        if method == "POST" and (found := ADDRESS.fullmatch(path)):
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
            raise Refused(501, "this index imports nothing from a bucket; upsert the records")
        raise Refused(404, f"{method} {path} is not an address of the data plane")
