"""`ScopedRecords` over the embedded engine: what each call refuses, hides and passes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.access.grant import UNRESTRICTED, Grant
from service.access.scope import NamespaceRule, Scope
from service.backends.embedded_index import EmbeddedTextIndex
from service.embedded.index import EmbeddedIndex
from service.embedded.schema import Schema, TextField
from service.errors import Forbidden, NotFound
from service.indexes.records import Selection
from service.records.records import Records
from service.records.scoped import ScopedRecords
from service.retrieval.deadline import Deadline
from tests.embedded.pinecone_api.calls import TinyEmbedder

FIELD, TIMEOUT_S = "body", 30.0
SHOP, OTHER = "shop", "other"
STORED = {
    SHOP: [
        {"_id": "a1", FIELD: "red lamp", "owner": "a", "price": 1},
        {"_id": "a2", FIELD: "blue lamp", "owner": "a", "price": 2},
        {"_id": "b1", FIELD: "green lamp", "owner": "b", "price": 1},
        {"_id": "x1", FIELD: "old lamp", "owner": "a", "price": 1},
    ],
    OTHER: [{"_id": "o1", FIELD: "desk", "owner": "b", "price": 3}],
}
OWN = {"owner": {"$eq": "a"}}
OWNER_A = Grant(scopes=(Scope((NamespaceRule(SHOP, OWN),)),))
PRICES = Grant(scopes=(Scope(fields=frozenset({"price"})),))
SHOP_ONLY = Grant(scopes=(Scope((NamespaceRule(SHOP),)),))
NEW = [{"_id": "n1", FIELD: "new lamp"}]


@pytest.fixture
def visible_waits() -> list[str]:
    """Has an entry for each write that waited until it was visible."""
    return []


@pytest.fixture
async def records(tmp_path: Path, visible_waits: list[str]) -> AsyncIterator[Records]:
    """The stored records, in an engine of their own."""
    schema = Schema({FIELD: TextField(embed=True, full_text=True)})
    index = EmbeddedIndex(tmp_path, schema, TinyEmbedder())
    await asyncio.to_thread(index.open)

    async def wait_until_visible() -> None:
        visible_waits.append("waited")
        await index.wait_until_visible()

    async def ignore(namespace: str) -> None:
        pass

    text_index = EmbeddedTextIndex("dense", index, FIELD)
    records = Records([text_index], FIELD, 2, wait_until_visible, ignore)
    for namespace, stored in STORED.items():
        await records.upsert(namespace, stored, deadline())
    await index.wait_until_visible()
    try:
        yield records
    finally:
        await records.close()
        await asyncio.to_thread(index.close)


def deadline() -> Deadline:
    return Deadline(TIMEOUT_S)


async def scanned(scoped: ScopedRecords, namespace: str, filter: Any = None) -> list[Any]:
    pages = scoped.scan(namespace, filter, TIMEOUT_S)
    return sorted([dict(each) async for page in pages for each in page], key=lambda r: r["_id"])


async def all_ids(scoped: ScopedRecords, namespace: str, prefix: str | None = None) -> list[str]:
    """The ids, a page of two at a time."""
    ids: list[str] = []
    cursor = None
    while True:
        page = await scoped.list_ids(namespace, prefix, 2, cursor, deadline())
        assert len(page.ids) <= 2
        ids += page.ids
        if (cursor := page.cursor) is None:
            return sorted(ids)


async def test_scoped_records_without_scope_are_all_records(records: Records) -> None:
    scoped = ScopedRecords(records, UNRESTRICTED)
    assert await scoped.get(SHOP, "b1", deadline()) == STORED[SHOP][2]
    assert await all_ids(scoped, SHOP) == ["a1", "a2", "b1", "x1"]
    assert await all_ids(scoped, SHOP, "a") == ["a1", "a2"]
    assert await scanned(scoped, SHOP) == STORED[SHOP]
    assert await scanned(scoped, SHOP, {"price": 2}) == [STORED[SHOP][1]]


@pytest.mark.parametrize("visible", [False, True])
async def test_scoped_records_write_and_wait_until_visible(
    records: Records, visible_waits: list[str], visible: bool
) -> None:
    scoped = ScopedRecords(records, SHOP_ONLY)
    assert scoped.can_wait_until_visible
    assert (await scoped.upsert(SHOP, NEW, deadline(), visible=visible)).written == 1
    assert len(visible_waits) == visible
    assert (await scoped.get(SHOP, "n1", deadline()))[FIELD] == "new lamp"
    selection = Selection(ids=("n1",))
    assert await scoped.delete(SHOP, selection, deadline(), visible=visible) == 1
    assert len(visible_waits) == 2 * visible
    await scoped.upsert(SHOP, NEW, deadline())
    await scoped.delete(SHOP, selection, deadline())
    assert len(visible_waits) == 2 * visible


@pytest.mark.parametrize(
    ("grant", "namespace"), [(SHOP_ONLY, OTHER), (OWNER_A, SHOP), (PRICES, SHOP)]
)
async def test_scoped_records_refuse_writes_to_a_part_of_a_namespace(
    records: Records, grant: Grant, namespace: str
) -> None:
    scoped = ScopedRecords(records, grant)
    with pytest.raises(Forbidden, match=f"namespace {namespace}"):
        await scoped.upsert(namespace, NEW, deadline())
    with pytest.raises(Forbidden, match=f"namespace {namespace}"):
        await scoped.delete(namespace, Selection(all=True), deadline())
    everything = ScopedRecords(records, UNRESTRICTED)
    assert await scanned(everything, namespace) == STORED[namespace]


async def test_scoped_records_refuse_reads_of_another_namespace(records: Records) -> None:
    scoped = ScopedRecords(records, OWNER_A)
    with pytest.raises(Forbidden, match="namespace other"):
        await scoped.get(OTHER, "o1", deadline())
    with pytest.raises(Forbidden, match="namespace other"):
        await scoped.list_ids(OTHER, None, 2, None, deadline())
    with pytest.raises(Forbidden, match="namespace other"):
        scoped.scan(OTHER, None, TIMEOUT_S)
    with pytest.raises(Forbidden, match="namespace other"):
        async for _ in scoped.scan_all([SHOP, OTHER], None, TIMEOUT_S):
            pass


async def test_scoped_records_hide_records_behind_the_filter(records: Records) -> None:
    scoped = ScopedRecords(records, OWNER_A)
    assert await scoped.get(SHOP, "a1", deadline()) == STORED[SHOP][0]
    details = []
    for id in ("b1", "no such record"):
        with pytest.raises(NotFound) as raised:
            await scoped.get(SHOP, id, deadline())
        details.append(raised.value.detail)
    assert details[0] == details[1]
    assert await all_ids(scoped, SHOP) == ["a1", "a2", "x1"]
    assert await all_ids(scoped, SHOP, "a") == ["a1", "a2"]
    assert [each["_id"] for each in await scanned(scoped, SHOP)] == ["a1", "a2", "x1"]
    assert [each["_id"] for each in await scanned(scoped, SHOP, {"price": 1})] == ["a1", "x1"]


async def test_scoped_records_have_allowed_fields_only(records: Records) -> None:
    scoped = ScopedRecords(records, PRICES)
    assert await scoped.get(SHOP, "a2", deadline()) == {"_id": "a2", "price": 2}
    expected = [{"_id": each["_id"], "price": each["price"]} for each in STORED[SHOP]]
    assert await scanned(scoped, SHOP) == expected
    assert await scanned(scoped, SHOP, {"price": 2}) == [{"_id": "a2", "price": 2}]
    with pytest.raises(Forbidden, match="names a field"):
        scoped.scan(SHOP, {"owner": "a"}, TIMEOUT_S)


async def test_scoped_records_of_several_namespaces_name_their_own(records: Records) -> None:
    scoped = ScopedRecords(records, PRICES)
    pages = scoped.scan_all([OTHER, SHOP], {"price": {"$gte": 2}}, TIMEOUT_S)
    assert [dict(each) async for page in pages for each in page] == [
        {"_id": "o1", "price": 3, "_namespace": OTHER},
        {"_id": "a2", "price": 2, "_namespace": SHOP},
    ]
