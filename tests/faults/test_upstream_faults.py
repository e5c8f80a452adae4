"""What a caller gets when Pinecone fails, in each of the ways in which it can."""

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

LEAK = "the stack trace of somebody else's server"
SOON = {"timeout_ms": 250}
EMPTY_GZIP = gzip.compress(b"{}")


async def ask(client: Client, path: str, **body: Any) -> tuple[int, Any, Any]:
    response = await client.post(f"/api/{path}", json={"text_query": "the cat", **body})
    return response.status_code, await response.get_json(), response.headers


def of_one_shape(error: Any) -> None:
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
async def test_every_status_has_its_own_answer(
    client: Client, upstream: Upstream, upstream_status: int, status: int, code: str
) -> None:
    upstream.behave(Status(upstream_status, message=LEAK), "dense")
    got, error, _ = await ask(client, "semantic-search")
    assert (got, error["code"]) == (status, code)
    of_one_shape(error)


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [("7", "7"), ("0", "1"), (None, "1"), ("soon", "1"), ("1e9", "86400"), ("inf", "86400")],
)
async def test_a_rate_limit_upstream_is_a_503_that_says_when_to_come_back(
    client: Client, upstream: Upstream, given: str | None, passed_on: str
) -> None:
    """At once: the client's own way, to wait as long as it is told, would outlive the deadline."""
    headers = {"retry-after": given} if given else {}
    upstream.behave(Status(429, headers, LEAK), "dense")
    got, error, answered = await ask(client, "semantic-search")
    of_one_shape(error)
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
async def test_what_does_not_answer_is_given_up_at_the_deadline(
    client: Client, upstream: Upstream, behaviour: Any, codes: set[str]
) -> None:
    upstream.behave(behaviour, "dense")
    got, error, _ = await ask(client, "semantic-search", **SOON)
    assert got in {503, 504}
    assert error["code"] in codes
    of_one_shape(error)


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
async def test_an_answer_that_can_not_be_read_is_a_502(
    client: Client, upstream: Upstream, behaviour: Any
) -> None:
    upstream.behave(behaviour, "dense")
    got, error, _ = await ask(client, "semantic-search")
    assert (got, error["code"]) == (502, "upstream_garbled")
    of_one_shape(error)


FAULTS = [Hang(), Drip(), Reset(), Garbage(), Status(400), Status(401), Status(503), Wrong([])]


@pytest.mark.parametrize("behaviour", FAULTS)
@pytest.mark.parametrize(("broken", "leg"), [("dense", "semantic"), ("sparse", "lexical")])
async def test_a_lost_leg_is_left_out_and_named(
    client: Client, upstream: Upstream, behaviour: Any, broken: str, leg: str
) -> None:
    upstream.behave(behaviour, broken)
    got, answer, _ = await ask(client, "cascading-retrieval", rerank="none", timeout_ms=400)
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
async def test_a_lost_reranker_leaves_the_fused_order_and_is_named(
    client: Client, upstream: Upstream, behaviour: Any
) -> None:
    _, fused, _ = await ask(client, "cascading-retrieval", rerank="none")
    upstream.behave(behaviour, "control/rerank")
    got, answer, _ = await ask(client, "cascading-retrieval", timeout_ms=400)
    assert got == 200
    assert answer["receipt"]["missing"] == ["rerank"]
    assert answer["results"] == fused["results"]


async def test_no_leg_at_all_is_one_error_that_names_them_all(
    client: Client, upstream: Upstream
) -> None:
    upstream.behave(Status(401), "dense")
    upstream.behave(Garbage(), "sparse")
    got, error, _ = await ask(client, "cascading-retrieval")
    assert (got, error["code"]) == (503, "no_leg_answered")
    assert "semantic: Pinecone rejected the key" in error["detail"]
    assert "lexical: The answer of the sparse index" in error["detail"]


async def test_no_leg_by_the_deadline_is_a_504(client: Client, upstream: Upstream) -> None:
    upstream.behave(Hang(), "dense", "sparse")
    got, error, _ = await ask(client, "cascading-retrieval", **SOON)
    assert got == 504
    of_one_shape(error)


async def test_a_call_that_is_given_up_is_given_up_upstream_too(
    client: Client, upstream: Upstream
) -> None:
    """And not tried again: it ended because the time was up."""
    upstream.behave(Hang(), "dense")
    await ask(client, "cascading-retrieval", rerank="none", **SOON)
    await ask(client, "semantic-search", **SOON)
    await upstream.until(
        lambda: [call.abandoned for call in upstream.searches("dense")] == [True, True]
    )
    upstream.behave(None, "dense")
    got, _, _ = await ask(client, "semantic-search")
    assert got == 200
