"""Tests for cascading retrieval as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Quart

from service.app import create_app
from service.settings import Settings, load_settings
from service.web.search.stream import PATH
from tests.asgi_request import AsgiRequest
from tests.conftest import MakeSettings, open_client
from tests.records.test_api import check_error
from tests.server_events import Event, check_moves, parse_events, result_ids
from tests.upstream import Garbage, Gate, Hang, Status, Upstream
from tests.web.search.test_cache import KEYS

CASCADE = "/api/cascading-retrieval"
DENSE, SPARSE = (f"{index}/records/namespaces/__default__/search" for index in ("dense", "sparse"))
PARAMS: dict[str, Any] = {"text_query": "the valve before the winter", "top_k": 4}
NO_TIMEOUT_MS = 25_000  # longer than any test
QUERIES: list[dict[str, Any]] = [
    {"text_query": "the road before the winter"},
    {"text_query": "cat", "top_k": 1},
    {"text_query": "tea below boiling", "top_k": 3, "depth": 12},
    {"text_query": "the warm dog", "rerank": "none", "fields": ["kind", "length"]},
    {"text_query": "the warm dog", "rerank": "none", "fusion": "rrf", "lexical_weight": 0.7},
    {"text_query": "a small boat", "rerank": "per-leg", "fields": ["*"]},
    {"text_query": "moon", "explain": True, "top_k": 2},
    {"text_query": "xylophone", "filter": {"length": {"$gt": 45}}},
]


@contextlib.asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Quart]:
    app = create_app(settings)
    async with app.test_app():
        yield app


async def read_stream(
    client: httpx.AsyncClient,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    **parameters: Any,
) -> list[Event]:
    if method == "GET":
        response = await client.get(PATH, params=parameters, headers=headers)
    else:
        response = await client.post(PATH, json=parameters, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    return parse_events(response.text)


def without_times(receipt: Any) -> Any:
    stages = [stage | {"ms": 0} for stage in receipt["stages"]]
    return receipt | {"ms": 0, "stages": sorted(stages, key=lambda stage: str(stage["stage"]))}


async def assert_equals_json_response(
    client: httpx.AsyncClient, parameters: dict[str, Any]
) -> list[Event]:
    """Check that `done` equals the JSON response, and that the rank changes add up."""
    events = await read_stream(client, **parameters)
    answer = (await client.post(CASCADE, json=parameters)).json()
    done = dict(events[-1].data)
    assert (events[-1].name, done.pop("stage")) == ("done", "done")
    done.pop("moved")
    assert without_times(done.pop("receipt")) == without_times(answer.pop("receipt"))
    assert done == answer
    check_moves([event.data for event in events])
    return events


@pytest.mark.parametrize("parameters", QUERIES)
@pytest.mark.parametrize("dialect", ["records", "documents"])
async def test_stream_done_event_equals_json_response(
    make_settings: MakeSettings, dialect: str, parameters: dict[str, Any]
) -> None:
    async with open_client(create_app(make_settings(pinecone_dialect=dialect))) as client:
        await assert_equals_json_response(client, parameters)


async def test_embedded_stream_done_event_equals_json_response(tmp_path: Path) -> None:
    settings = load_settings(data_dir=str(tmp_path), load_samples=True, cache_ttl=0)
    async with open_client(create_app(settings)) as client:
        for text in ("how do I keep bread fresh", "error", "winter", "a", "???"):
            for more in ({}, {"highlight": True, "typos": True}, {"rerank": "none", "top_k": 3}):
                events = await assert_equals_json_response(client, {"text_query": text, **more})
                if "highlight" in more:
                    assert all("highlights" in result for result in events[0].data["results"])


async def test_stream_has_event_for_each_stage(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    events = await read_stream(local, **PARAMS)
    assert [event.name for event in events] == ["leg", "leg", "fused", "reranked", "done"]
    assert [event.data["stage"] for event in events] == [event.name for event in events]
    assert {events[0].data["leg"], events[1].data["leg"]} == {"semantic", "lexical"}
    assert all("leg" not in event.data for event in events[2:])
    for event in events:
        assert 0 < len(event.data["results"]) <= 4
        assert {*event.data["results"][0]} == {"_id", "score", "chunk_text", "found_by"}
    assert result_ids(events[1].data) == result_ids(events[2].data)
    assert events[2].data["moved"] == events[4].data["moved"] == []
    assert len(upstream.searches()) == 3


async def test_stream_is_not_run_again_after_done(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    """An EventSource reconnects at the end of a stream, with the id of the last event."""
    text = (await local.get(PATH, params=PARAMS)).text
    ids = [line.partition(": ")[2] for line in text.split("\n") if line.startswith("id: ")]
    assert ids == ["1", "2", "3", "4", "done"]
    searches = len(upstream.searches())
    for response in (
        await local.get(PATH, params=PARAMS, headers={"Last-Event-ID": ids[-1]}),
        await local.post(PATH, json=PARAMS, headers={"Last-Event-ID": ids[-1]}),
    ):
        assert (response.status_code, response.content) == (204, b"")
    assert len(upstream.searches()) == searches
    events = await read_stream(local, "GET", {"Last-Event-ID": ids[-2]}, **PARAMS)
    assert events[-1].name == "done"


async def test_stream_get_and_post_have_same_events(local: httpx.AsyncClient) -> None:
    got, posted = (
        await read_stream(local, "GET", **PARAMS),
        await read_stream(local, "POST", **PARAMS),
    )
    assert result_ids(got[-1].data) == result_ids(posted[-1].data)
    assert [event.name for event in got] == [event.name for event in posted]


async def wait_for_events(caller: AsgiRequest, count: int) -> list[Event]:
    """Wait until `count` events were sent, and return them."""
    async with asyncio.timeout(60):
        while len(events := events_so_far(caller)) < count:
            await asyncio.sleep(0.005)
    return events


def events_so_far(caller: AsgiRequest) -> list[Event]:
    return parse_events(b"".join(message.get("body", b"") for message in caller.sent).decode())


def start_stream(
    app: Quart, headers: dict[str, str] | None = None, query: str = "cat"
) -> AsgiRequest:
    return AsgiRequest(
        app, f"{PATH}?text_query={query}&timeout_ms={NO_TIMEOUT_MS}", headers=headers
    )


async def test_stream_sends_first_leg_before_second_answers(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    gate = Gate()
    upstream.behave(gate, SPARSE)
    async with open_app(make_settings()) as app:
        caller = start_stream(app)
        (first,) = await wait_for_events(caller, 1)
        assert (first.name, first.data["leg"]) == ("leg", "semantic")
        assert result_ids(first.data)[0] == "cat"
        assert not caller.done.done()
        gate.opened.set()
        await caller.done
    assert [event.name for event in events_so_far(caller)][-1] == "done"


@pytest.mark.parametrize("index", ["dense", "sparse", "control"])
async def test_stream_done_event_reports_missing_stage(
    local: httpx.AsyncClient, upstream: Upstream, index: str
) -> None:
    upstream.behave(Status(500), index)
    events = await assert_equals_json_response(local, PARAMS)
    assert events[-1].data["degraded"] is True
    stage = {"dense": "semantic", "sparse": "lexical", "control": "rerank"}[index]
    assert events[-1].data["receipt"]["missing"] == [stage]
    assert all("degraded" not in event.data for event in events[:-1])


async def test_stream_leaves_out_late_leg(local: httpx.AsyncClient, upstream: Upstream) -> None:
    upstream.behave(Hang(), "sparse")
    events = await read_stream(local, **PARAMS, timeout_ms=2000, rerank="none")
    assert [event.name for event in events] == ["leg", "fused", "done"]
    assert events[-1].data["receipt"]["missing"] == ["lexical"]


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        ({"text_query": " "}, 422, "empty_query"),
        ({"text_query": "a", "top": 3}, 422, "invalid_request"),
        ({"text_query": "a", "typos": True}, 422, "invalid_request"),
        ({"text_query": "a", "top_k": 500}, 422, "invalid_request"),
        ({"cursor": "MTIzNDU2Nzg5MDEyAAAA"}, 422, "invalid_request"),
        ({"text_query": "a", "timeout_ms": 100}, 504, "deadline_exceeded"),
    ],
)
async def test_stream_error_before_first_event_is_error_response(
    local: httpx.AsyncClient, upstream: Upstream, parameters: dict[str, Any], status: int, code: str
) -> None:
    upstream.behave(Hang(), "dense", "sparse")
    response = await local.post(PATH, json=parameters)
    check_error(response, status, code)
    assert response.headers["Content-Type"] == "application/json"


async def test_stream_without_any_leg_is_error_response(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    with upstream.behaving(Status(500), "dense", "sparse"):
        check_error(await local.get(PATH, params=PARAMS), 503, "upstream_unavailable")
    hits = [{"_id": "a", "_score": 1.0, "fields": {"chunk_text": "x", "n": 2**70}}]
    body = json.dumps({"result": {"hits": hits}, "usage": {"read_units": 1}}).encode()
    upstream.behave(Garbage(body), "dense")
    upstream.behave(Status(500), "sparse")
    check_error(await local.post(PATH, json={**PARAMS, "fields": ["*"]}), 502, "upstream_garbled")


async def test_stream_error_after_first_event_is_error_event(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    upstream.behave(Hang(), "control")
    async with open_app(make_settings()) as app:
        caller = start_stream(app, {"X-Request-Id": "mine"})
        await wait_for_events(caller, 3)
    await caller.done
    last = events_so_far(caller)[-1]
    assert last.name == "error"
    assert last.data.keys() == {"detail", "code", "request_id"}
    assert (last.data["code"], last.data["request_id"]) == ("unavailable", "mine")
    assert "stopping" in last.data["detail"]


async def test_stream_disconnect_cancels_upstream_calls(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    upstream.behave(Hang(), SPARSE)
    async with open_app(make_settings()) as app:
        caller = start_stream(app, query="cat&rerank=none")
        await wait_for_events(caller, 1)
        await upstream.until(lambda: len(upstream.searches("sparse")) == 1)
        await caller.disconnect()
        await upstream.until(lambda: upstream.searches("sparse")[0].abandoned)


async def test_stream_disconnect_before_first_event_cancels_upstream_calls(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    upstream.behave(Hang(), SPARSE, DENSE)
    async with open_app(make_settings()) as app:
        caller = start_stream(app)
        await upstream.until(lambda: len(upstream.searches()) == 2)
        await caller.disconnect()
        await upstream.until(lambda: all(call.abandoned for call in upstream.searches()))


class StuckCaller(AsgiRequest):
    """A client to which not even the response start can be sent."""

    async def _send(self, message: Any) -> None:
        await super()._send(message)
        await asyncio.Event().wait()


async def test_stream_disconnect_during_response_start_cancels_upstream_calls(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    upstream.behave(Hang(), SPARSE)
    async with open_app(make_settings()) as app:
        caller = StuckCaller(app, f"{PATH}?text_query=cat&rerank=none&timeout_ms={NO_TIMEOUT_MS}")
        async with asyncio.timeout(60):
            while not caller.sent:
                await asyncio.sleep(0)
        assert caller.sent[0]["status"] == 200
        await upstream.until(lambda: len(upstream.searches("sparse")) == 1)
        await caller.disconnect()
        await upstream.until(lambda: upstream.searches("sparse")[0].abandoned)


async def test_stream_shares_search_with_json_request(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    gate = Gate()
    upstream.behave(gate, SPARSE)
    async with open_app(make_settings()) as app:
        first = start_stream(app)
        await wait_for_events(first, 1)
        plain = AsgiRequest(app, f"{CASCADE}?text_query=cat&timeout_ms={NO_TIMEOUT_MS}")
        second = start_stream(app)
        assert result_ids((await wait_for_events(second, 1))[0].data) == result_ids(
            (await wait_for_events(first, 1))[0].data
        )
        await first.disconnect()
        gate.opened.set()
        await asyncio.gather(second.done, plain.done)
    assert events_so_far(second)[-1].data["receipt"]["cache"] == "shared"
    assert (await plain.headers())["x-cache"] == "shared"
    assert len(upstream.searches("sparse")) == len(upstream.searches("dense")) == 1


async def test_stream_answer_is_cached(make_settings: MakeSettings, upstream: Upstream) -> None:
    async with open_client(create_app(make_settings(cache_ttl=3600))) as client:
        events = await read_stream(client, **PARAMS)
        assert events[-1].data["receipt"]["cache"] == "miss"
        answer = (await client.post(CASCADE, json=PARAMS)).json()
        assert answer["receipt"]["cache"] == "hit"
        assert answer["cursor"] == events[-1].data["cursor"]
        (cached,) = await read_stream(client, **PARAMS)
        assert cached.name == "done"
        assert cached.data["results"] == answer["results"] == events[-1].data["results"]
        assert cached.data["receipt"]["cache"] == "hit"
        assert [(move["from"], move["to"]) for move in cached.data["moved"]] == [
            (None, rank) for rank in range(1, 5)
        ]
        assert len(upstream.searches("dense")) == 1


async def test_stream_respects_cache_control(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    async with open_client(create_app(make_settings(cache_ttl=3600))) as client:
        unkept = await read_stream(client, headers={"Cache-Control": "no-store"}, **PARAMS)
        found = await read_stream(client, **PARAMS)
        fresh = await read_stream(client, headers={"Cache-Control": "no-cache"}, **PARAMS)
        caches = [each[-1].data["receipt"]["cache"] for each in (unkept, found, fresh)]
        assert caches == ["bypass", "miss", "bypass"]
        assert len(fresh) == 5
        upstream.behave(Status(500), "sparse")
        upstream.calls.clear()
        other = PARAMS | {"top_k": 3}
        await read_stream(client, **other)
        assert len(await read_stream(client, **other)) > 1  # a degraded answer is not cached


async def test_stream_does_not_share_answers_between_tenants(make_settings: MakeSettings) -> None:
    settings = make_settings(cache_ttl=3600, service_api_keys=",".join(KEYS))
    async with open_client(create_app(settings)) as client:
        caches = [
            (await read_stream(client, headers={"Api-Key": key}, **PARAMS))[-1].data["receipt"][
                "cache"
            ]
            for key in (*KEYS, KEYS[0])
        ]
        assert caches == ["miss", "miss", "hit"]


async def test_stream_holds_slot_until_first_event(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    dense, sparse = Gate(), Gate()
    upstream.behave(dense, DENSE)
    upstream.behave(sparse, SPARSE)
    settings = make_settings(max_in_flight=1, max_waiting=0)
    async with open_app(settings) as app:
        caller = start_stream(app)
        await upstream.until(lambda: len(upstream.searches()) == 2)
        refused = AsgiRequest(app, "/api/records")
        await refused.done
        assert refused.sent[0]["status"] == 503
        dense.opened.set()
        await wait_for_events(caller, 1)
        let_in = AsgiRequest(app, "/api/records")
        await let_in.done
        assert let_in.sent[0]["status"] == 200
        sparse.opened.set()
        await caller.done


async def test_openapi_documents_stream(local: httpx.AsyncClient) -> None:
    document = (await local.get("/api/openapi.json")).json()
    for method in ("get", "post"):
        operation = document["paths"][PATH][method]
        assert operation["responses"]["200"]["content"].keys() == {"text/event-stream"}
        error = operation["responses"]["422"]["$ref"].split("/")[-1]
        content = document["components"]["responses"][error]["content"]
        assert content.keys() == {"application/json"}
        assert operation["tags"] == ["search"]
