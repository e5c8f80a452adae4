"""The limits on the number of fields, of one record and of all records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pinecone.errors import PineconeError

from service.backends.embedded_index import EmbeddedTextIndex
from service.embedded.field_limit import FieldLimit, TooManyFields
from service.embedded.filters.index import FilterIndex
from service.embedded.index import EmbeddedIndex
from service.embedded.pending_documents import PendingDocument
from service.embedded.views.filters import FilterView
from service.indexes.limits import MAX_FIELDS, MAX_NAMESPACE_FIELDS
from service.records.records import Records
from service.retrieval.deadline import Deadline
from tests.campaigns.model import EMBEDDER
from tests.embedded.test_failures import SCHEMA, SPACE, opened

NAMES = MAX_NAMESPACE_FIELDS - 1  # beside the text


@asynccontextmanager
async def opened_index(folder: Path) -> AsyncIterator[EmbeddedIndex]:
    index = EmbeddedIndex(folder, SCHEMA, EMBEDDER)
    await asyncio.to_thread(index.open)
    try:
        yield index
    finally:
        await asyncio.to_thread(index.close)


def pending(id: str, names: Iterable[int]) -> PendingDocument:
    return PendingDocument(id, {"body": "cat", **{f"f{name}": 1 for name in names}})


def full_namespace() -> list[PendingDocument]:
    """Documents with as many fields as a namespace may have."""
    starts = range(0, NAMES, 900)
    return [pending(f"full {at}", range(at, min(at + 900, NAMES))) for at in starts]


async def test_fields_of_namespace_are_limited(tmp_path: Path) -> None:
    async with opened_index(tmp_path) as index:
        await index.upsert(SPACE, full_namespace())
        with pytest.raises(TooManyFields, match=r"at most 10,000 different fields.* 10,001"):
            await index.upsert(SPACE, [pending("a", [NAMES])])
        with pytest.raises(TooManyFields):
            await index.update(SPACE, ["full 0"], lambda each: pending(each.id, [NAMES]))
        await index.upsert(SPACE, [pending("a", [0, 1, 2])])  # none of them is new
        await index.upsert("another", [pending("a", [NAMES])])
    async with opened_index(tmp_path) as index:  # which reads all of them again
        with pytest.raises(TooManyFields):
            await index.upsert(SPACE, [pending("b", [NAMES])])
        await index.delete(SPACE, ["full 0"])
        await index.wait_until_visible()
        await index.upsert(SPACE, [pending("b", [NAMES])])


async def test_concurrent_writes_do_not_exceed_field_limit_together(tmp_path: Path) -> None:
    async with opened_index(tmp_path) as index:
        await index.upsert(SPACE, full_namespace()[:-1])
        left = len(full_namespace()[-1].fields) - 1
        outcomes = await asyncio.gather(
            *(index.upsert(SPACE, [pending(f"{n}", [NAMES + n])]) for n in range(left + 20)),
            return_exceptions=True,
        )
        refused = [each for each in outcomes if isinstance(each, TooManyFields)]
        assert len(refused) == 20
        assert len(outcomes) - len(refused) == left
        await index.wait_until_visible()
        assert index.views.filters.field_counts(SPACE, []) == (MAX_NAMESPACE_FIELDS,) * 2


@pytest.mark.parametrize("end", ["cancelled", "failed", "late", "applied"])
def test_claim_is_released_when_its_write_has_ended(end: str) -> None:
    applied = [0]
    limit = FieldLimit(FilterView(SCHEMA), lambda: applied[0], lambda: None)
    with limit.claim() as claim:
        if end != "late":
            claim.take(SPACE, full_namespace())
        if end in {"failed", "applied"}:
            claim.submitted()
    if end == "late":  # the thread takes it when the caller has been cancelled
        claim.take(SPACE, full_namespace())
    if end in {"failed", "applied"}:
        with limit.claim() as other, pytest.raises(TooManyFields):
            other.take(SPACE, [pending("a", [NAMES])])
        claim.ended(1 if end == "applied" else None)
    applied[0] = 1
    with limit.claim() as other:
        other.take(SPACE, [pending("a", range(NAMES, NAMES + 900))])


async def test_records_with_too_many_new_fields_are_refused_one_by_one(tmp_path: Path) -> None:
    async def ignore(namespace: str) -> None:
        pass

    def record(id: str, names: Iterable[int]) -> dict[str, Any]:
        return {"_id": id, **pending(id, names).fields}

    async with opened_index(tmp_path) as index:
        records = Records([EmbeddedTextIndex("dense", index, "body")], "body", 2, None, ignore)
        await index.upsert(SPACE, full_namespace()[:-1])
        left = len(full_namespace()[-1].fields) - 1
        given = [record(str(n), range(NAMES + n * left, NAMES + (n + 1) * left)) for n in range(3)]
        written = await records.upsert(SPACE, given, Deadline(30))
        assert written.written == 1
        assert {each.code for each in written.failures} == {"too_many_fields"}
        assert all("at most 10,000 different fields" in each.detail for each in written.failures)
        await records.close()


async def test_pinecone_api_limits_fields_of_record(tmp_path: Path) -> None:
    record = {"_id": "a", "body": "x", **{f"f{n}": 1 for n in range(MAX_FIELDS)}}
    async with opened(tmp_path) as index:
        for upsert in (
            index.documents.upsert(namespace=SPACE, documents=[record]),
            index.upsert_records(namespace=SPACE, records=[record]),
        ):
            with pytest.raises(PineconeError, match="has 1001 fields; at most 1000 are allowed"):
                await upsert
        del record["f0"]
        await index.documents.upsert(namespace=SPACE, documents=[record])


def test_filter_index_is_bounded_also_if_more_is_stored() -> None:
    """An older version may have stored more. What is not indexed is not silently not found."""
    index = FilterIndex(max_fields=3)
    index.add(1, "n", {"a": 1, "b": 1})
    index.add(2, "n", {"a": 1, "c": 1, "d": 1})
    index.add(3, "m", {"a": 1})
    assert index.field_count() == 3
    assert set(index.select("n", {"a": 1})) == {1, 2}
    assert set(index.select("n", {"c": {"$exists": True}})) == {2}
    for filter in ({"d": 1}, {"d": {"$exists": False}}, {"unknown": {"$in": [1]}}):
        with pytest.raises(ValueError, match=r"can't be filtered by: .* too many different fields"):
            index.select("n", filter)
    index.remove(1, "n", {"a": 1, "b": 1})
    index.remove(3, "m", {"a": 1})
    index.remove(2, "n", {"a": 1, "c": 1, "d": 1})
    assert index.field_count() == 0
    index.add(4, "n", {"d": 1})
    assert set(index.select("n", {"d": 1})) == {4}
