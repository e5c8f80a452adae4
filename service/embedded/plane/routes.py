"""Which address of the data plane is answered by what."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from service.embedded.index import EmbeddedIndex
from service.embedded.plane import documents, namespaces, records, vectors
from service.embedded.plane.refusals import Refused, told

Body = dict[str, Any]
Plain = Callable[[EmbeddedIndex, Any], Awaitable[Body]]
Spaced = Callable[[EmbeddedIndex, str, Any], Awaitable[Body]]

BY_BODY: dict[tuple[str, str], Plain] = {
    ("POST", "/query"): vectors.query,
    ("POST", "/vectors/upsert"): vectors.upsert,
    ("POST", "/vectors/update"): vectors.update,
    ("POST", "/vectors/delete"): vectors.delete,
    ("POST", "/vectors/fetch_by_metadata"): vectors.fetch_by_metadata,
    ("POST", "/describe_index_stats"): vectors.stats,
    ("POST", "/namespaces"): namespaces.create,
}
BY_PARAMETERS: dict[tuple[str, str], Plain] = {
    ("GET", "/vectors/fetch"): vectors.fetch,
    ("GET", "/vectors/list"): vectors.list_ids,
    ("GET", "/describe_index_stats"): vectors.stats,
    ("GET", "/namespaces"): namespaces.listed,
}
IN_NAMESPACE: dict[tuple[str, str], Spaced] = {
    ("records", "upsert"): records.upsert,
    ("records", "search"): records.search,
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
    index: EmbeddedIndex, method: str, path: str, params: Mapping[str, Any], body: Any
) -> Body:
    """The body of the answer; `Refused` says why there is none. NDJSON comes in as bytes."""
    with told():
        try:
            return await _answer(index, method, path, params, body)
        except msgspec.ValidationError as exc:
            raise Refused(400, str(exc)) from exc


async def _answer(
    index: EmbeddedIndex, method: str, path: str, params: Mapping[str, Any], body: Any
) -> Body:
    if plain := BY_BODY.get((method, path)):
        return await plain(index, body)
    if plain := BY_PARAMETERS.get((method, path)):
        return await plain(index, params)
    if method == "POST" and (found := ADDRESS.fullmatch(path)):
        kind, verb = found[1] or found[5], found[3] or found[6]
        if spaced := IN_NAMESPACE.get((kind, verb)):
            return await spaced(index, unquote(found[2] or found[4]), body)
    if found := NAMESPACE.fullmatch(path):
        if method == "GET":
            return await namespaces.describe(index, unquote(found[1]))
        if method == "DELETE":
            return await namespaces.delete(index, unquote(found[1]))
    raise Refused(404, f"{method} {path} is not an address of the data plane")
