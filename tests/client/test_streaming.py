"""Streams of the stages of a cascading search."""

from __future__ import annotations

from typing import Any

import pytest

from service.client import (
    ApiError,
    ConnectionFailed,
    DeadlineExceeded,
    GarbledAnswer,
    Invalid,
    ServiceFailed,
    Unavailable,
)
from tests.client.conftest import Make
from tests.client.fake_service import Reply, answer, chunked, event, scripted_server

LEG = {"stage": "leg", "leg": "lexical", "results": [{"_id": "a", "score": 1}]} | {
    "moved": [{"_id": "a", "from": None, "to": 1}]
}
DONE = {"stage": "done", "results": [], "moved": [], "degraded": False, "cursor": None} | {
    "receipt": {"ms": 1, "missing": [], "stages": []}
}


def test_stream_yields_stages_and_complete_response(client: Any) -> None:
    options = {"top_k": 5, "rerank": "union", "fields": ["category"], "explain": True}
    events = list(client.stream("can butter be frozen", **options))
    assert [each.stage for each in events] == ["leg", "leg", "fused", "reranked", "done"]
    assert {each.leg for each in events[:2]} == {"semantic", "lexical"}
    whole = client.cascading("can butter be frozen", **options)
    assert events[-1].answer.results == whole.results == events[-1].results
    ranks: dict[str, int] = {}
    for each in events:
        for move in each.moved:
            assert ranks.pop(move.id, None) == move.before
            if move.after is not None:
                ranks[move.id] = move.after
        assert ranks == {result.id: rank for rank, result in enumerate(each.results, 1)}


def test_stream_raises_for_invalid_search(client: Any) -> None:
    with pytest.raises(Invalid, match="Text query cannot be empty"):
        list(client.stream(""))


def test_stream_closed_early_closes_connection(client: Any) -> None:
    for _ in range(3):
        with client.stream("can butter be frozen") as events:
            assert next(iter(events)).stage == "leg"
    assert client.lexical("butter").results


def test_stream_is_retried_only_before_first_event(make: Make) -> None:
    busy = answer(503, {"detail": "Busy", "code": "overloaded"}, retry_after="0")
    cut = chunked(event("leg", LEG), end=False, after="close")
    with scripted_server(busy, Reply(b"", "reset"), cut) as server:
        events = iter(make(server.url).stream("x"))
        first = next(events)
        assert (first.leg, first.results[0].id, first.moved[0].after) == ("lexical", "a", 1)
        with pytest.raises(ConnectionFailed):
            next(events)
        assert len(server.requests) == 3
        assert server.requests[2].json == {"text_query": "x"}


def test_truncated_stream_raises(make: Make) -> None:
    with scripted_server(chunked(event("leg", LEG))) as server:
        with pytest.raises(ConnectionFailed, match="stopped sending"):
            list(make(server.url).stream("x"))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("deadline_exceeded", DeadlineExceeded),
        ("internal_error", ServiceFailed),
        ("no_leg_answered", Unavailable),
    ],
)
def test_stream_error_event_is_raised(make: Make, code: str, kind: type[ApiError]) -> None:
    error = {"detail": "Not so.", "code": code, "request_id": "r1"}
    with scripted_server(chunked(event("leg", LEG), event("error", error))) as server:
        received = []
        with pytest.raises(kind, match=r"Not so\.") as caught:
            received.extend(make(server.url).stream("x"))
    assert (caught.value.code, caught.value.request_id) == (code, "r1")


def test_stream_ignores_unknown_events(make: Make) -> None:
    chunks = [b": heart\n\n", event("mood", {"a": 1}), event("done", DONE), event("later", {})]
    with scripted_server(chunked(*chunks)) as server:
        (only,) = make(server.url).stream("x")
    assert only.stage == "done"


@pytest.mark.parametrize(
    "reply",
    [
        chunked(b"data: x", content_type="text/html"),
        chunked(b"event: leg\ndata: {\n\n"),
        chunked(b"event: done\ndata: {}\n\n"),
    ],
)
def test_stream_invalid_response_raises_garbled(make: Make, reply: Reply) -> None:
    with scripted_server(reply) as server:
        with pytest.raises(GarbledAnswer):
            list(make(server.url).stream("x"))
