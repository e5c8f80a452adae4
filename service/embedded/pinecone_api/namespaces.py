"""Namespaces, which are created by name or by their first record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from service.embedded.errors import EngineError
from service.embedded.index import EmbeddedIndex
from service.embedded.pinecone_api.bodies import PageSize, pagination, read, read_parameters
from service.embedded.pinecone_api.validation import (
    DEFAULT_NAMESPACE,
    check_namespace,
    check_prefix,
)
from service.embedded.selection import cut_page, decode_token
from service.indexes.limits import MAX_PAGE


class Create(msgspec.Struct):
    """The body of a creation. `schema` has no effect: every field can be filtered by."""

    name: str
    schema: dict[str, Any] | None = None


class Listing(msgspec.Struct, rename="camel"):
    """The parameters of /namespaces."""

    prefix: str | None = None
    limit: PageSize = MAX_PAGE
    pagination_token: str | None = None


async def create(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    name = check_namespace(read(body, Create).name)
    if name == DEFAULT_NAMESPACE:
        raise ValueError("the default namespace can't be created; give another name")
    if name in await _counts(index):
        raise EngineError(409, f"the namespace {name!r} exists already")
    await index.create_namespace(name)
    return _described(name, 0)


async def describe(index: EmbeddedIndex, namespace: str) -> dict[str, Any]:
    name = check_namespace(namespace)
    return _described(name, await _count(index, name))


async def delete(index: EmbeddedIndex, namespace: str) -> dict[str, Any]:
    name = check_namespace(namespace)
    await _count(index, name)
    await index.drop_namespace(name)
    return {}


async def list_namespaces(index: EmbeddedIndex, parameters: Mapping[str, Any]) -> dict[str, Any]:
    request = read_parameters(parameters, Listing)
    prefix, after = check_prefix(request.prefix), decode_token(request.pagination_token)
    counts = {
        name: count for name, count in (await _counts(index)).items() if name.startswith(prefix)
    }
    following = sorted(name for name in counts if name > after)
    page, token = cut_page(following, request.limit)
    return {
        "namespaces": [_described(name, counts[name]) for name in page],
        "total_count": len(counts),
        **pagination(token),
    }


async def _counts(index: EmbeddedIndex) -> dict[str, int]:
    return await index.read(lambda store: store.namespace_counts())


async def _count(index: EmbeddedIndex, name: str) -> int:
    counts = await _counts(index)
    if name not in counts:
        raise EngineError(404, f"there is no namespace {name!r}")
    return counts[name]


def _described(name: str, count: int) -> dict[str, Any]:
    return {"name": name, "record_count": count}
