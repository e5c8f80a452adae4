"""Namespaces: created by name or by the first record in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from service.embedded.errors import EngineError
from service.embedded.index import EmbeddedIndex
from service.embedded.paging import cut_page, decode_token, pagination
from service.embedded.pinecone_api.bodies import PAGE, PageSize, read, read_parameters
from service.embedded.pinecone_api.validation import (
    DEFAULT_NAMESPACE,
    check_namespace,
    check_prefix,
)


class Create(msgspec.Struct):
    """The body of a namespace that is created. Every field can be filtered by, schema or not."""

    name: str
    schema: dict[str, Any] | None = None


class Listing(msgspec.Struct, rename="camel"):
    """The parameters of /namespaces."""

    prefix: str | None = None
    limit: PageSize = PAGE
    pagination_token: str | None = None


async def create(index: EmbeddedIndex, body: bytes) -> dict[str, Any]:
    name = check_namespace(read(body, Create).name)
    if name == DEFAULT_NAMESPACE:
        raise ValueError("a namespace that is created needs a name of its own")
    if name in await _all(index):
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


async def listed(index: EmbeddedIndex, parameters: Mapping[str, Any]) -> dict[str, Any]:
    asked = read_parameters(parameters, Listing)
    prefix, after = check_prefix(asked.prefix), decode_token(asked.pagination_token)
    counts = {name: count for name, count in (await _all(index)).items() if name.startswith(prefix)}
    rest = sorted(name for name in counts if name > after)
    page, last = cut_page(rest[: asked.limit + 1], asked.limit)
    return {
        "namespaces": [_described(name, counts[name]) for name in page],
        "total_count": len(counts),
        **pagination(last),
    }


async def _all(index: EmbeddedIndex) -> dict[str, int]:
    return await index.read(lambda store: store.namespace_counts())


async def _count(index: EmbeddedIndex, name: str) -> int:
    counts = await _all(index)
    if name not in counts:
        raise EngineError(404, f"there is no namespace {name!r}")
    return counts[name]


def _described(name: str, count: int) -> dict[str, Any]:
    return {"name": name, "record_count": count}
