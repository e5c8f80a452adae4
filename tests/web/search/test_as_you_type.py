"""Tests for the WebSocket of search as you type."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from service.access.grant import UNRESTRICTED
from service.access.limiting.account import Limits
from service.access.limiting.memory_store import MemoryLimitStore
from service.app import create_app
from service.retrieval.query import Mode
from service.settings import Settings, load_settings
from service.web.search.as_you_type import MAX_CONSECUTIVE_ERRORS, PATH, SearchSession
from service.web.search.routes import PATHS
from tests.asgi_request import AsgiRequest
from tests.conftest import MakeSettings
from tests.server_events import check_moves
from tests.upstream import Gate, Hang, Status, Upstream
from tests.web.websocket_client import WebsocketDisconnectError
from tests.websocket_client import SearchSocket

DENSE, SPARSE = (f"{index}/records/namespaces/__default__/search" for index in ("dense", "sparse"))
NO_TIMEOUT_MS = 25_000  # longer than any test


@contextlib.asynccontextmanager
async def connect(app: Quart, **options: Any) -> AsyncIterator[SearchSocket]:
    async with app.test_client().websocket(PATH, **options) as websocket:
        yield SearchSocket(websocket)


@contextlib.asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Quart]:
    app = create_app(settings)
    async with app.test_app():
        yield app


@pytest.fixture
async def app(make_settings: MakeSettings) -> AsyncIterator[Quart]:
    settings = make_settings(typing_pause_ms=0, search_timeout_ms=NO_TIMEOUT_MS)
    async with open_app(settings) as app:
        yield app


@pytest.fixture
async def search_socket(app: Quart) -> AsyncIterator[SearchSocket]:
    async with connect(app) as search_socket:
        yield search_socket


async def wait_for_close(search_socket: SearchSocket) -> int:
    """Read until the connection is closed, and return the code."""
    try:
        while True:
            await search_socket.receive()
    except WebsocketDisconnectError as wait_for_close:
        code: int = wait_for_close.args[0]
        return code


async def post_json(app: Quart, path: str, parameters: Any) -> Any:
    """The JSON response."""
    caller = AsgiRequest(app, path, "POST", json.dumps(parameters).encode())
    await caller.done
    return json.loads(caller.sent[1]["body"])


async def test_websocket_sends_each_stage_of_each_mode(
    app: Quart, search_socket: SearchSocket
) -> None:
    stages: dict[Mode, list[str]] = {
        "semantic": ["leg", "done"],
        "lexical": ["leg", "done"],
        "cascading": ["leg", "leg", "fused", "reranked", "done"],
    }
    for seq, (mode, expected) in enumerate(stages.items()):
        parameters: dict[str, Any] = {"top_k": 2, "depth": 9, "fields": ["kind"]}
        await search_socket.search(seq, "the road before the winter", mode, **parameters)
        messages = await search_socket.receive_all()
        assert [each["stage"] for each in messages] == expected
        assert {(each["type"], each["seq"]) for each in messages} == {("results", seq)}
        assert [each["leg"] for each in messages if each["stage"] == "leg"].count(mode) == (
            mode != "cascading"
        )
        check_moves(messages)
        parameters["text_query"] = "the road before the winter"
        answer = await post_json(app, PATHS[mode], parameters)
        done = messages[-1]
        for name in ("results", "degraded", "cursor"):
            assert done[name] == answer[name]
        assert done["receipt"].keys() == answer["receipt"].keys()
        assert done["cursor"]


async def test_websocket_on_embedded_engine_equals_json_response(tmp_path: Path) -> None:
    settings = load_settings(data_dir=str(tmp_path), load_samples=True)
    async with open_app(settings) as app, connect(app) as search_socket:
        text = "how do I keep bread fresh"
        for end in range(3, len(text) + 1):
            await search_socket.search(end, text[:end], highlight=True, top_k=3)
        messages = await search_socket.receive_all()
        assert {each["seq"] for each in messages} == {len(text)}
        parameters = {"text_query": text, "highlight": True, "top_k": 3}
        answer = await post_json(app, PATHS["cascading"], parameters)
        assert messages[-1]["results"] == answer["results"]


def has_searches(upstream: Upstream, count: int) -> bool:
    return len(upstream.searches()) == count


async def test_newer_search_cancels_upstream_calls_of_older_one(
    search_socket: SearchSocket, upstream: Upstream
) -> None:
    upstream.behave(Hang(), DENSE)
    for seq in range(4):
        await search_socket.search(seq, f"cat {seq}", "semantic")
        await upstream.until(partial(has_searches, upstream, seq + 1))
    await upstream.until(lambda: [c.abandoned for c in upstream.searches()] == [True] * 3 + [False])
    upstream.behave(None, DENSE)
    await search_socket.search(4, "cat", "lexical")
    assert {each["seq"] for each in await search_socket.receive_all()} == {4}
    await upstream.until(lambda: upstream.searches("dense")[3].abandoned)


async def test_newer_search_silences_older_one(
    search_socket: SearchSocket, upstream: Upstream
) -> None:
    gate = Gate()
    upstream.behave(gate, SPARSE)
    await search_socket.search(1, "cat")
    assert (await search_socket.receive())["seq"] == 1
    await search_socket.search(2, "dog", "semantic")
    gate.opened.set()
    assert {each["seq"] for each in await search_socket.receive_all()} == {2}
    await search_socket.ping()


async def test_cancel_message_ends_search(search_socket: SearchSocket, upstream: Upstream) -> None:
    upstream.behave(Hang(), SPARSE)
    await search_socket.search(7, "cat")
    assert (await search_socket.receive())["leg"] == "semantic"
    await upstream.until(lambda: len(upstream.searches("sparse")) == 1)
    await search_socket.send({"type": "cancel", "seq": 6})
    await search_socket.ping()
    assert not upstream.searches("sparse")[0].abandoned
    await search_socket.send({"type": "cancel", "seq": 7})
    await upstream.until(lambda: upstream.searches("sparse")[0].abandoned)
    await search_socket.send({"type": "cancel", "seq": 7})
    await search_socket.ping()
    await search_socket.search(8, "cat", "semantic")
    assert {each["seq"] for each in await search_socket.receive_all()} == {8}


async def test_cancel_keeps_search_shared_with_other_client(
    app: Quart, search_socket: SearchSocket, upstream: Upstream
) -> None:
    gate = Gate()
    upstream.behave(gate, DENSE)
    await search_socket.search(1, "cat", "semantic")
    await upstream.until(lambda: len(upstream.searches()) == 1)
    async with connect(app) as other:
        await other.search(1, "cat", "semantic")
        await other.ping()
        await other.ping()
        await search_socket.send({"type": "cancel", "seq": 1})
        await search_socket.ping()
        gate.opened.set()
        assert (await other.receive_all())[-1]["receipt"]["cache"] == "shared"
    assert [call.abandoned for call in upstream.searches()] == [False]


async def test_search_replaced_within_pause_is_not_started(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    async with open_app(make_settings(typing_pause_ms=300)) as app, connect(app) as search_socket:
        for seq, text in enumerate(["c", "ca", "cat"]):
            await search_socket.search(seq, text, "semantic")
        messages = await search_socket.receive_all()
        assert {each["seq"] for each in messages} == {2}
        assert [call.body["query"]["inputs"]["text"] for call in upstream.searches()] == ["cat"]
        await search_socket.search(3, "dog", "semantic")
        await search_socket.send({"type": "cancel", "seq": 3})
        await search_socket.ping()
    assert len(upstream.searches()) == 1


async def test_websocket_shares_cache_with_http(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    settings = make_settings(cache_ttl=3600, typing_pause_ms=0)
    async with open_app(settings) as app, connect(app) as search_socket:
        await search_socket.search(1, "cat")
        found = await search_socket.receive_all()
        await search_socket.search(2, "cat")
        (cached,) = await search_socket.receive_all()
        assert (cached["stage"], cached["receipt"]["cache"]) == ("done", "hit")
        assert cached["results"] == found[-1]["results"]
        plain = AsgiRequest(app, "/api/cascading-retrieval?text_query=cat")
        assert (await plain.headers())["x-cache"] == "hit"


async def test_websocket_reports_missing_leg_and_errors(
    search_socket: SearchSocket, upstream: Upstream
) -> None:
    upstream.behave(Status(500), "sparse")
    await search_socket.search(1, "cat")
    messages = await search_socket.receive_all()
    assert messages[-1]["degraded"] is True
    assert messages[-1]["receipt"]["missing"] == ["lexical"]
    upstream.behave(Status(500), "dense")
    await search_socket.search(2, "cat")
    (error,) = await search_socket.receive_all()
    assert (error["type"], error["seq"], error["code"]) == ("error", 2, "upstream_unavailable")
    upstream.behave(Hang(), "dense")
    await search_socket.search(3, "cat", "semantic", timeout_ms=50)
    (error,) = await search_socket.receive_all()
    assert (error["seq"], error["code"]) == (3, "deadline_exceeded")


SEARCH = {"type": "search", "seq": 5, "mode": "lexical", "text_query": "cat"}


@pytest.mark.parametrize(
    ("message", "seq", "code", "loc"),
    [
        ("{", None, "bad_request", None),
        ("", None, "bad_request", None),
        ("[]", None, "bad_request", None),
        ('"\\ud800"', None, "bad_request", None),
        (
            '{"type": "search", "seq": 5, "mode": "lexical", "top_k": NaN}',
            None,
            "bad_request",
            None,
        ),
        ("[" * 5_000, None, "bad_request", None),
        ({"type": "find", "seq": 5}, 5, "invalid_request", "type"),
        ({"type": None}, None, "invalid_request", "type"),
        ({}, None, "invalid_request", "type"),
        ({"type": "cancel"}, None, "invalid_request", "seq"),
        (SEARCH | {"seq": -1}, None, "invalid_request", "seq"),
        (SEARCH | {"seq": 1.5}, None, "invalid_request", "seq"),
        (SEARCH | {"seq": True}, None, "invalid_request", "seq"),
        (SEARCH | {"seq": "5"}, None, "invalid_request", "seq"),
        (SEARCH | {"seq": 10**400}, None, "invalid_request", "seq"),
        (SEARCH | {"seq": 1}, 1, "invalid_request", "seq"),
        (SEARCH | {"seq": 0}, 0, "invalid_request", "seq"),
        (SEARCH | {"mode": "psychic"}, 5, "invalid_request", "mode"),
        (SEARCH | {"mode": []}, 5, "invalid_request", "mode"),
        (SEARCH | {"text_query": " "}, 5, "empty_query", "text_query"),
        (SEARCH | {"text_query": 3}, 5, "invalid_request", "text_query"),
        (SEARCH | {"top_k": 0}, 5, "invalid_request", "top_k"),
        (SEARCH | {"top": 3}, 5, "invalid_request", "top"),
        (SEARCH | {"typos": True}, 5, "invalid_request", "typos"),
        (SEARCH | {"filter": {"$no": 1}}, 5, "invalid_request", "filter"),
        (SEARCH | {"timeout_ms": 10**9}, 5, "invalid_request", "timeout_ms"),
        (SEARCH | {"cursor": "MTIzNDU2Nzg5MDEyAAAA"}, 5, "invalid_request", "cursor"),
    ],
)
async def test_invalid_message_gets_error_and_connection_stays_open(
    search_socket: SearchSocket,
    upstream: Upstream,
    message: Any,
    seq: int | None,
    code: str,
    loc: str | None,
) -> None:
    await search_socket.search(1, "cat", "lexical")
    await search_socket.receive_all()
    await search_socket.send(message)
    error = await search_socket.receive()
    assert (error["type"], error["seq"], error["code"]) == ("error", seq, code), error
    assert error.keys() - {"errors"} == {"type", "seq", "detail", "code"}
    if loc is not None:
        assert error["errors"][0]["loc"] == [loc]
    await search_socket.search(6, "dog", "lexical")
    assert (await search_socket.receive_all())[-1]["stage"] == "done"
    assert len(upstream.searches()) == 2


@pytest.mark.parametrize(
    "invalid",
    [SEARCH | {"text_query": ""}, SEARCH | {"mode": "psychic"}, SEARCH | {"typos": True}],
)
async def test_invalid_search_keeps_older_one(
    search_socket: SearchSocket, upstream: Upstream, invalid: dict[str, Any]
) -> None:
    gate = Gate()
    upstream.behave(gate, DENSE)
    await search_socket.search(1, "cat", "semantic")
    await upstream.until(lambda: len(upstream.searches()) == 1)
    await search_socket.send(invalid)
    error = await search_socket.receive()
    assert (error["type"], error["seq"]) == ("error", 5)
    gate.opened.set()
    messages = await search_socket.receive_all()
    assert [(each["seq"], each["stage"]) for each in messages] == [(1, "leg"), (1, "done")]
    assert not upstream.searches()[0].abandoned


async def test_seq_of_invalid_search_may_be_used_again(search_socket: SearchSocket) -> None:
    await search_socket.search(1, "cat", "semantic")
    await search_socket.search(2, "", "semantic")
    await search_socket.search(2, "dog", "semantic")
    messages = [await search_socket.receive()]
    while messages[-1].get("stage") != "done" or messages[-1]["seq"] != 2:
        messages.append(await search_socket.receive())
    assert [each["code"] for each in messages if each["type"] == "error"] == ["empty_query"]


async def test_too_many_invalid_messages_close_with_1008(search_socket: SearchSocket) -> None:
    for _ in range(MAX_CONSECUTIVE_ERRORS - 1):
        await search_socket.send("?")
        assert (await search_socket.receive())["type"] == "error"
    await search_socket.ping()
    for _ in range(MAX_CONSECUTIVE_ERRORS):
        await search_socket.send("?")
    assert await wait_for_close(search_socket) == 1008


async def test_binary_message_closes_with_1003(search_socket: SearchSocket) -> None:
    await search_socket.send(b'{"type": "ping"}')
    assert await wait_for_close(search_socket) == 1003


async def test_websocket_search_needs_slot_or_gets_overloaded_error(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    gate = Gate()
    settings = make_settings(max_in_flight=1, max_waiting=1, typing_pause_ms=0)
    async with open_app(settings) as app:
        upstream.behave(gate, "dense")
        held = AsgiRequest(app, "/api/semantic-search?text_query=cat")
        await upstream.until(lambda: len(upstream.searches()) == 1)
        async with connect(app) as first, connect(app) as second:
            await first.search(1, "dog", "lexical")
            await first.ping()
            await second.search(1, "dog", "lexical")
            (error,) = await second.receive_all()
            assert (error["code"], error["seq"]) == ("overloaded", 1)
            assert error["retry_after"] >= 1
            assert upstream.searches("sparse") == []
            await first.send({"type": "cancel", "seq": 1})  # leaves the queue
            await first.ping()
            await second.search(2, "dog", "lexical")
            await second.ping()
            gate.opened.set()
            assert (await second.receive_all())[-1]["stage"] == "done"
        await held.done
        admission = app.extensions["cascade.admission"]
        assert (admission.in_use, len(admission.queue)) == (0, 0)


async def test_websocket_disconnect_cancels_search(app: Quart, upstream: Upstream) -> None:
    upstream.behave(Hang(), DENSE)
    async with connect(app) as search_socket:
        await search_socket.search(1, "cat", "semantic")
        await upstream.until(lambda: len(upstream.searches()) == 1)
    await upstream.until(lambda: upstream.searches()[0].abandoned)
    assert app.extensions["cascade.admission"].in_use == 0


class SilentWebSocket:
    """A client that never sends a message."""

    def __init__(self) -> None:
        self.closed: tuple[int, str] | None = None

    async def receive(self) -> str:
        await asyncio.Event().wait()
        return ""

    async def send(self, data: str) -> None:
        raise AssertionError(data)

    async def close(self, code: int, reason: str = "") -> None:
        self.closed = (code, reason)


async def test_idle_websocket_is_closed(app: Quart) -> None:
    websocket = SilentWebSocket()
    admission = app.extensions["cascade.admission"]
    parser: Any = None
    service: Any = None
    account = Limits(MemoryLimitStore()).account(UNRESTRICTED, None, "search")
    await SearchSession(
        websocket, parser, service, admission, 0.0, UNRESTRICTED, account, idle_timeout_s=0.01
    ).run()
    assert websocket.closed == (1000, "the connection was idle for too long")
