"""Writes to two Pinecone indexes: the upstream calls, and the errors if some of them fail."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.errors import DeadlineExceeded, Unavailable
from service.records.records import Records
from service.retrieval.deadline import Deadline
from tests.asgi_request import AsgiRequest
from tests.conftest import MakeSettings, open_client
from tests.records.test_api import check_error, make_records
from tests.upstream import Flaky, Gate, Hang, Reset, Status, Upstream


async def post(client: httpx.AsyncClient, records: Any) -> httpx.Response:
    return await client.post("/api/records", json=records)


def written(count: int) -> dict[str, Any]:
    """The response to an upsert; Pinecone does not say which records it had."""
    unknown = dict.fromkeys(("created", "replaced", "unchanged"))
    return {"written": count, **unknown, "failed": []}


async def test_upsert_sends_batches_of_96_records_to_both_indexes(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    assert (await post(local, make_records(200))).json() == written(200)
    for index in ("dense", "sparse"):
        assert sorted(len(call.body) for call in upstream.upserts(index)) == [8, 96, 96]
        assert len(upstream.records.of(index)) == 200
    assert {call.path for call in upstream.upserts()} == {"/records/namespaces/__default__/upsert"}


async def test_upsert_sends_batches_of_at_most_two_megabytes(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    large = [{**record, "chunk_text": "é" * 15_000} for record in make_records(90)]  # 30 kB each
    assert (await post(local, large)).json()["written"] == 90
    sizes = [call.size for call in upstream.upserts("dense")]
    assert len(sizes) == 2
    assert max(sizes) <= 2_000_000


async def test_upsert_writes_index_with_both_fields_once(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    both = upstream.host("dense")
    settings = make_settings(pinecone_dialect="documents", pinecone_sparse_index_host=both)
    async with open_client(create_app(settings)) as client:
        assert (await post(client, make_records(3))).json()["written"] == 3
    (call,) = upstream.upserts()
    assert call.path == "/namespaces/__default__/documents/upsert"


async def test_upsert_limits_concurrent_calls(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    gate = Gate()
    upstream.behave(gate, *(f"{i}/records/namespaces/__default__/upsert" for i in INDEXES))
    async with open_client(create_app(make_settings(upserts_at_once=3))) as client:
        writing = [asyncio.create_task(post(client, make_records(300))) for _ in range(2)]
        await upstream.until(lambda: len(upstream.upserts()) == 3)
        await client.get("/healthz")  # whatever else was on its way has had a turn
        assert len(upstream.upserts()) == 3
        gate.opened.set()
        assert [(await each).json()["written"] for each in writing] == [300, 300]


INDEXES = ["dense", "sparse"]


async def test_upsert_isolates_record_that_pinecone_rejects(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.records.poison = {"r007", "r150"}
    body = (await post(local, make_records(200))).json()
    assert body["written"] == 198
    assert [(each["index"], each["_id"]) for each in body["failed"]] == [(7, "r007"), (150, "r150")]
    assert {each["code"] for each in body["failed"]} == {"upstream_refused"}
    assert body["failed"][0]["detail"].startswith("the dense index refuses this record: ")
    assert "the sparse index refuses" in body["failed"][0]["detail"]
    assert "poison" not in str(body)  # Pinecone's words are for the log
    assert len(upstream.records.of("sparse")) == 198


async def test_upsert_limits_bisection_of_rejected_batch(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.behave(Status(400), *INDEXES)
    body = check_error(await post(local, make_records(1000)), 422, "upstream_refused")
    assert len(body["errors"]) == 20
    assert len(upstream.upserts()) <= 2 * (11 + 2 * 64)


async def test_upsert_rejected_by_one_index_is_not_written(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    await post(local, {"_id": "there", "chunk_text": "x"})
    upstream.behave(Status(403), "sparse")
    answer = await post(local, make_records(2))
    body = check_error(answer, 502, "upstream_forbidden")
    assert body["detail"].startswith("No record was written. Pinecone does not let this service")
    assert "the sparse index" in body["errors"][0]["msg"]
    assert "the dense index took it" in body["errors"][0]["msg"]
    assert "send it again" in body["errors"][0]["msg"]
    upstream.behave(None, "sparse")
    assert (await post(local, make_records(2))).json()["written"] == 2


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (Status(401), 502, "upstream_key_rejected"),
        (Status(404), 502, "upstream_not_found"),
        (Status(413), 413, "upstream_too_large"),
        (Status(503), 503, "upstream_unavailable"),
        (Reset(), 503, "upstream_unreachable"),
        (Hang(), 504, "deadline_exceeded"),
    ],
)
async def test_upsert_that_wrote_nothing_raises_upstream_error(
    make_settings: MakeSettings, upstream: Upstream, behaviour: Any, status: int, code: str
) -> None:
    async with open_client(create_app(make_settings(records_timeout_ms=2500))) as client:
        upstream.behave(behaviour, *INDEXES)
        body = check_error(await post(client, [*make_records(2), {"_id": "bad"}]), status, code)
        assert [error["loc"] for error in body["errors"]] == [[0], [1], [2]]
        assert "chunk_text" in body["errors"][2]["msg"]


@pytest.mark.parametrize("passing", [Status(503), Reset()])
async def test_upsert_retries_transient_error(
    local: httpx.AsyncClient, upstream: Upstream, passing: Any
) -> None:
    upstream.behave(Flaky(passing, 3), "dense")
    assert (await post(local, make_records(2))).json() == written(2)


async def test_upsert_raises_rate_limit_beyond_deadline(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.behave(Status(429, {"retry-after": "40"}), *INDEXES)
    answer = await post(local, make_records(2))
    check_error(answer, 503, "upstream_rate_limited")
    assert answer.headers["Retry-After"] == "40"
    assert len(upstream.upserts("dense")) == 1


async def test_upsert_waits_for_rate_limit_within_deadline(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.behave(Flaky(Status(429, {"retry-after": "1"}), 1), "sparse")
    assert (await post(local, make_records(1))).json()["written"] == 1
    assert len(upstream.upserts("sparse")) == 2


async def test_cancelled_upsert_still_commits(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    gate = Gate()
    paths = [f"{index}/records/namespaces/__default__/upsert" for index in INDEXES]
    app = create_app(make_settings(upserts_at_once=1))
    async with app.test_app():
        upstream.behave(gate, *paths)
        body = b'[{"_id": "one", "chunk_text": "x"}, {"_id": "two", "chunk_text": "y"}]'
        caller = AsgiRequest(app, "/api/records", "POST", body)
        await upstream.until(lambda: len(upstream.upserts()) == 1)
        await caller.disconnect()
        assert caller.sent == []
        gate.opened.set()
    # The app closes after the write has finished.
    for index in INDEXES:
        assert upstream.records.of(index).keys() == {"one", "two"}


async def test_delete_many_ids_takes_several_calls(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    ids = [f"i{i}" for i in range(2500)]
    answer = await local.request("DELETE", "/api/records", json={"ids": ids})
    assert answer.json() == {"deleted": None}
    calls = [call for call in upstream.calls if call.path == "/vectors/delete"]
    assert sorted(len(call.body["ids"]) for call in calls) == [500, 500, 1000, 1000, 1000, 1000]
    sent = itertools.chain(*(call.body["ids"] for call in calls if call.index == "dense"))
    assert list(sent) == ids


async def test_delete_rejected_by_one_index_reports_the_other(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    await post(local, make_records(1))
    upstream.behave(Status(500), "sparse")
    answer = await local.delete("/api/records/r000")
    body = check_error(answer, 503, "upstream_unavailable")
    assert "The other index has deleted" in body["detail"]
    upstream.behave(None, "sparse")
    assert (await local.delete("/api/records/r000")).status_code == 200
    assert upstream.records.of("sparse") == {}


async def test_fetch_finds_record_of_one_index(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.records.of("sparse")["half"] = {"chunk_text": "x"}
    assert (await local.get("/api/records/half")).json()["chunk_text"] == "x"


async def test_reads_end_at_deadline(make_settings: MakeSettings, upstream: Upstream) -> None:
    async with open_client(create_app(make_settings(records_timeout_ms=100))) as client:
        upstream.behave(Hang(), "dense")
        for path in ("/api/records", "/api/records/a", "/api/stats"):
            check_error(await client.get(path), 504, "deadline_exceeded")


async def test_write_is_reported_despite_visibility_error() -> None:
    async def fail() -> None:
        raise OSError("no space left")

    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    reported_namespaces: list[str] = []

    async def wrote(namespace: str) -> None:
        reported_namespaces.append(namespace)

    for show, error in ((fail, Unavailable), (wait_for_ever, DeadlineExceeded)):
        reported_namespaces.clear()
        records = Records([], "chunk_text", 1, show, wrote)
        with pytest.raises(error, match="It is written, but"):
            await records.upsert("n", make_records(1), Deadline(0.05), visible=True)
        assert reported_namespaces == ["n"]
        assert (await records.upsert("n", make_records(1), Deadline(1))).written == 1
        await records.close()
        with pytest.raises(Unavailable, match="stopping"):
            await records.upsert("n", make_records(1), Deadline(1))
