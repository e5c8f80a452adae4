"""The response to a client for each kind of Pinecone failure."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from tests.conftest import Client
from tests.upstream import (
    API_KEY,
    Delay,
    Drip,
    Garbage,
    Hang,
    Reset,
    Status,
    Truncate,
    Upstream,
    Wrong,
)

LEAK = "the stack trace of another server"
TIMEOUT_MS = 2500  # of which a busy machine needs some for the stages that work
SOON = {"timeout_ms": 250}
EMPTY_GZIP = gzip.compress(b"{}")


async def ask(client: Client, path: str, **body: Any) -> tuple[int, Any, Any]:
    response = await client.post(f"/api/{path}", json={"text_query": "the cat", **body})
    return response.status_code, await response.get_json(), response.headers


def check_error_shape(error: Any) -> None:
    assert error.keys() <= {"detail", "code", "request_id", "errors"}
    assert len(error["detail"]) > 10
    assert LEAK not in str(error)
    assert API_KEY not in str(error)


STATUSES = [
    (400, 422, "upstream_refused"),
    (401, 502, "upstream_key_rejected"),
    (402, 502, "upstream_payment_required"),
    (403, 502, "upstream_forbidden"),
    (404, 502, "upstream_not_found"),
    (409, 502, "upstream_conflict"),
    (412, 502, "upstream_precondition"),
    (413, 413, "upstream_too_large"),
    (418, 502, "upstream_error"),
    (422, 422, "upstream_refused"),
    (301, 502, "upstream_error"),
    (501, 503, "upstream_unavailable"),
]


@pytest.mark.parametrize(("upstream_status", "status", "code"), STATUSES)
async def test_upstream_status_maps_to_error(
    client: Client, upstream: Upstream, upstream_status: int, status: int, code: str
) -> None:
    upstream.behave(Status(upstream_status, message=LEAK), "dense")
    got, error, _ = await ask(client, "semantic-search")
    assert (got, error["code"]) == (status, code)
    check_error_shape(error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect_of_the_upstream_is_not_followed(
    client: Client, upstream: Upstream, status: int
) -> None:
    """The other host would get the key of Pinecone, and the query."""
    elsewhere = f"{upstream.host('sparse')}/records/namespaces/__default__/search"
    upstream.behave(Status(status, headers={"location": elsewhere}), "dense")
    got, error, _ = await ask(client, "semantic-search")
    assert (got, error["code"]) == (502, "upstream_error")
    assert len(upstream.searches("dense")) == 1
    assert upstream.searches("sparse") == []


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [("7", "7"), ("0", "1"), (None, "1"), ("soon", "1"), ("1e9", "86400"), ("inf", "86400")],
)
async def test_upstream_rate_limit_is_503_with_retry_after(
    client: Client, upstream: Upstream, given: str | None, passed_on: str
) -> None:
    """Without a retry: waiting as long as Retry-After says would exceed the deadline."""
    headers = {"retry-after": given} if given else {}
    upstream.behave(Status(429, headers, LEAK), "dense")
    got, error, answered = await ask(client, "semantic-search")
    check_error_shape(error)
    assert len(upstream.searches()) == 1
    assert (got, error["code"]) == (503, "upstream_rate_limited")
    assert answered["Retry-After"] == passed_on


@pytest.mark.parametrize(
    ("behaviour", "codes"),
    [
        (Hang(), {"deadline_exceeded", "upstream_timeout"}),
        (Drip(), {"deadline_exceeded", "upstream_timeout"}),
        (Delay(5), {"deadline_exceeded", "upstream_timeout"}),
        (Reset(), {"deadline_exceeded", "upstream_unreachable"}),
        (Truncate(), {"deadline_exceeded", "upstream_unreachable"}),
        (Status(500, message=LEAK), {"deadline_exceeded", "upstream_unavailable"}),
        (Status(503, {"retry-after": "86400"}), {"deadline_exceeded", "upstream_unavailable"}),
    ],
)
async def test_unresponsive_upstream_is_abandoned_at_deadline(
    client: Client, upstream: Upstream, behaviour: Any, codes: set[str]
) -> None:
    upstream.behave(behaviour, "dense")
    got, error, _ = await ask(client, "semantic-search", **SOON)
    assert got in {503, 504}
    assert error["code"] in codes
    check_error_shape(error)


@pytest.mark.parametrize(
    "behaviour",
    [
        Garbage(),
        Garbage(b""),
        Garbage(b"<html>" + LEAK.encode()),
        Garbage(b"not gzip", {"content-encoding": "gzip"}),
        Garbage(EMPTY_GZIP, {"content-encoding": "gzip"}),
        Wrong({"result": {"hits": [{"_id": None, "_score": 1}]}, "usage": {"read_units": 1}}),
        Wrong({"result": {"hits": [{"_id": "a", "_score": "high"}]}, "usage": {"read_units": 1}}),
        Wrong({"result": None}),
        Wrong([1, 2, 3]),
        Garbage(b'{"result": {"hits": []}, "usage": {"read_units": ' + b"9" * 30 + b"}}"),
        Garbage(
            b'{"result": {"hits": [{"_id": "a", "_score": 1, "fields": {"chunk_text": '
            + b"[" * 5000
            + b"]" * 5000
            + b'}}]}, "usage": {"read_units": 1}}'
        ),
        Garbage(
            b'{"result": {"hits": [{"_id": "a", "_score": 1, "fields": {"chunk_text": '
            + b"[" * 500
            + b"]" * 500
            + b'}}]}, "usage": {"read_units": 1}}'
        ),
    ],
)
async def test_garbled_upstream_response_is_502(
    client: Client, upstream: Upstream, behaviour: Any
) -> None:
    upstream.behave(behaviour, "dense")
    got, error, _ = await ask(client, "semantic-search")
    assert (got, error["code"]) == (502, "upstream_garbled")
    check_error_shape(error)


FAULTS = [Hang(), Drip(), Reset(), Garbage(), Status(400), Status(401), Status(503), Wrong([])]


@pytest.mark.parametrize("behaviour", FAULTS)
@pytest.mark.parametrize(("broken", "leg"), [("dense", "semantic"), ("sparse", "lexical")])
async def test_failed_leg_is_left_out_and_named(
    client: Client, upstream: Upstream, behaviour: Any, broken: str, leg: str
) -> None:
    upstream.behave(behaviour, broken)
    got, answer, _ = await ask(client, "cascading-retrieval", rerank="none", timeout_ms=TIMEOUT_MS)
    assert got == 200
    assert answer["degraded"] is True
    assert answer["receipt"]["missing"] == [leg]
    other = "lexical" if leg == "semantic" else "semantic"
    assert answer["results"]
    assert all(result["found_by"] == [other] for result in answer["results"])


BAD_RANKINGS = [
    Wrong({"model": "m", "data": data, "usage": {"rerank_units": 1}})
    for data in ([], [{"index": 99, "score": 1.0}], [{"index": 0, "score": 1.0}] * 10)
]


@pytest.mark.parametrize("behaviour", [*FAULTS, *BAD_RANKINGS])
async def test_failed_reranker_keeps_fused_order_and_is_named(
    client: Client, upstream: Upstream, behaviour: Any
) -> None:
    _, fused, _ = await ask(client, "cascading-retrieval", rerank="none")
    upstream.behave(behaviour, "control/rerank")
    got, answer, _ = await ask(client, "cascading-retrieval", timeout_ms=TIMEOUT_MS)
    assert got == 200
    assert answer["receipt"]["missing"] == ["rerank"]
    assert answer["results"] == fused["results"]


async def test_no_leg_is_error_that_names_all_legs(client: Client, upstream: Upstream) -> None:
    upstream.behave(Status(401), "dense")
    upstream.behave(Garbage(), "sparse")
    got, error, _ = await ask(client, "cascading-retrieval")
    assert (got, error["code"]) == (503, "no_leg_answered")
    assert "semantic: Pinecone rejected the key" in error["detail"]
    assert "lexical: The response of the sparse index" in error["detail"]


async def test_no_leg_by_deadline_is_504(client: Client, upstream: Upstream) -> None:
    upstream.behave(Hang(), "dense", "sparse")
    got, error, _ = await ask(client, "cascading-retrieval", **SOON)
    assert got == 504
    check_error_shape(error)


async def test_abandoned_call_is_abandoned_upstream(client: Client, upstream: Upstream) -> None:
    """And not retried, since the deadline is over."""
    upstream.behave(Hang(), "dense")
    await ask(client, "cascading-retrieval", rerank="none", **SOON)
    await ask(client, "semantic-search", **SOON)
    await upstream.until(
        lambda: [call.abandoned for call in upstream.searches("dense")] == [True, True]
    )
    upstream.behave(None, "dense")
    got, _, _ = await ask(client, "semantic-search")
    assert got == 200
