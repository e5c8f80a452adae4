"""Records of a running service, with both clients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from service.client import Invalid, InvalidArgument, NotFound


@pytest.fixture
def space(client: Any, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """A namespace for one test."""
    own = {"namespace": f"records-{abs(hash(request.node.name))}"}
    yield own
    client.delete(all=True, **own)


def test_upsert_get_search_list_and_delete_records(client: Any, space: dict[str, str]) -> None:
    records = [{"_id": f"r{n}", "chunk_text": f"record number {n}", "n": n} for n in range(250)]
    written = client.upsert(iter(records), wait="visible", **space)
    assert (written.written, written.failures) == (250, ())
    assert client.get("r7", **space) == records[7]
    assert client.lexical("number 7", top_k=1, **space).results[0].id == "r7"
    page = client.list_ids(prefix="r1", limit=5, **space)
    assert len(page.ids) == 5
    assert page.cursor is not None
    assert client.list_ids(prefix="r1", limit=5, cursor=page.cursor, **space).ids[0] not in page.ids
    assert set(client.iter_ids(**space)) == {record["_id"] for record in records}
    assert client.delete(ids=["r1", "r2"], wait="visible", **space) == 2
    assert client.delete(filter={"n": {"$lt": 10}}, wait="visible", **space) == 8
    index = next(iter(client.stats().indexes.values()))
    assert index.namespaces[space["namespace"]].records == 240
    assert client.namespaces()[space["namespace"]].records == 240
    with pytest.raises(NotFound):
        client.get("r1", **space)


def test_upsert_names_failed_records(client: Any, space: dict[str, str]) -> None:
    good, bad = {"_id": "good", "chunk_text": "x"}, {"_id": "bad", "chunk_text": 7}
    written = client.upsert([good, bad], **space)
    assert written.written == 1
    (failure,) = written.failures
    assert (failure.index, failure.id, failure.code) == (1, "bad", "invalid_request")
    assert "chunk_text" in failure.detail
    with pytest.raises(Invalid):
        client.upsert([bad], **space)


@pytest.mark.parametrize("id", ["..", ".", "a/../b", "a?b#c", "100%2F", " ", "~;,+&=\"'<>"])
def test_record_id_may_have_any_characters(client: Any, space: dict[str, str], id: str) -> None:
    client.upsert([{"_id": id, "chunk_text": "odd"}], **space)
    assert client.get(id, **space)["_id"] == id
    assert list(client.iter_ids(**space)) == [id]
    client.delete(ids=[id], wait="visible", **space)
    assert list(client.iter_ids(**space)) == []


@pytest.mark.parametrize(
    "how", [{}, {"ids": ["a"], "all": True}, {"ids": "abc"}, {"filter": {"n": math.nan}}]
)
def test_ambiguous_delete_is_not_sent(client: Any, how: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        client.delete(**how)


@pytest.mark.parametrize("value", [math.inf, object(), "\ud800", {1: {2, 3}}])
def test_upsert_rejects_values_that_are_not_json(client: Any, value: Any) -> None:
    with pytest.raises(InvalidArgument, match="can't be written as JSON"):
        client.upsert([{"_id": "x", "chunk_text": "x", "value": value}])


def test_health_of_service(client: Any) -> None:
    client.healthz()
    assert client.ready().ready
    assert set(client.ready().indexes.values()) == {"ok"}
