"""Namespaces: created by name or by the first record in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from service.embedded.index import EmbeddedIndex
from service.embedded.plane.paging import page_of_ids, pagination, read_token
from service.embedded.plane.refusals import Refused
from service.embedded.plane.values import namespace_of

PAGE = 100


class Create(msgspec.Struct):
    """The body of a namespace that is created."""

    name: str
    schema: dict[str, Any] | None = None


async def create(index: EmbeddedIndex, body: Any) -> dict[str, Any]:
    name = namespace_of(msgspec.convert(body, Create).name)
    if name in await _all(index):
        raise Refused(409, f"the namespace {name!r} exists already")
    await index.name(name, exists=True)
    return _described(name, 0)


async def describe(index: EmbeddedIndex, namespace: str) -> dict[str, Any]:
    name = namespace_of(namespace)
    return _described(name, await _count(index, name))


async def delete(index: EmbeddedIndex, namespace: str) -> dict[str, Any]:
    name = namespace_of(namespace)
    await _count(index, name)
    await index.name(name, exists=False)
    return {}


async def listed(index: EmbeddedIndex, params: Mapping[str, Any]) -> dict[str, Any]:
    limit = int(params.get("limit") or PAGE)
    if not 1 <= limit <= PAGE:
        raise ValueError(f"limit is a number from 1 to {PAGE}")
    prefix, after = str(params.get("prefix") or ""), read_token(params.get("paginationToken"))
    counts = {name: count for name, count in (await _all(index)).items() if name.startswith(prefix)}
    rest = sorted(name for name in counts if name > after)
    page, last = page_of_ids(rest[: limit + 1], limit)
    return {
        "namespaces": [_described(name, counts[name]) for name in page],
        "total_count": len(counts),
        **pagination(last),
    }


async def _all(index: EmbeddedIndex) -> dict[str, int]:
    return await index.read(lambda store: store.namespaces())


async def _count(index: EmbeddedIndex, name: str) -> int:
    counts = await _all(index)
    if name not in counts:
        raise Refused(404, f"there is no namespace {name!r}")
    return counts[name]


def _described(name: str, count: int) -> dict[str, Any]:
    return {"name": name, "record_count": count}
