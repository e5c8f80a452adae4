"""Rate limits over HTTP and WebSocket: who is limited, what counts, and what the client is told."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from quart import Quart

from service.app import create_app
from service.errors import StartupFailed
from service.web.authentication import PUBLIC_ENDPOINTS
from service.web.rate_limits import HEADERS
from tests.conftest import MakeSettings, open_client
from tests.upstream import Status, Upstream

KEY, OTHER = "a-key-of-24-characters-1", "a-key-of-24-characters-2"
SEARCH = "/api/semantic-search?text_query=cat"
RATE = "3/d"


def remaining(response: httpx.Response) -> int:
    return int(response.headers["RateLimit-Remaining"])


async def test_search_beyond_rate_is_429_without_upstream_call(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    app = create_app(make_settings(rate_limit_anonymous=RATE))
    async with open_client(app) as client:
        answers = [await client.get(f"{SEARCH}{number}") for number in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [remaining(answer) for answer in answers] == [2, 1, 0, 0]
        assert len(upstream.searches()) == 3
    last = answers[-1]
    assert last.json()["code"] == "rate_limited"
    assert "3/d" in last.json()["detail"]
    assert last.headers["RateLimit-Limit"] == "3"
    assert 28_000 < int(last.headers["Retry-After"]) <= 28_800
    assert 86_000 < int(last.headers["RateLimit-Reset"]) <= 86_400
    assert last.headers["Cache-Control"] == "no-store"


async def test_service_without_limits_sends_no_rate_limit_headers(
    local: httpx.AsyncClient,
) -> None:
    assert not HEADERS.keys() & (await local.get(SEARCH)).headers.keys()


async def test_each_key_has_its_own_limit(make_settings: MakeSettings) -> None:
    settings = make_settings(
        service_api_keys=f"{KEY},{OTHER}", rate_limit=RATE, rate_limit_anonymous="1/d"
    )
    async with open_client(create_app(settings)) as client:
        for key in (KEY, OTHER):
            headers = {"Api-Key": key}
            for expected in (200, 200, 200, 429):
                response = await client.get("/api/stats", headers=headers)
                assert response.status_code == expected
        wrong = await client.get(SEARCH, headers={"Api-Key": "not-a-key-of-the-service"})
        assert wrong.status_code == 401
        assert not HEADERS.keys() & wrong.headers.keys()


@pytest.mark.parametrize(
    ("settings", "same_caller"),
    [
        (
            {"rate_limit_anonymous": RATE},
            [
                {"X-Forwarded-For": "192.0.2.1"},
                {"X-Real-Ip": "192.0.2.2", "Forwarded": "for=192.0.2.3"},
                {"Authorization": f"Bearer {KEY}"},
                {"Api-Key": OTHER},
            ],
        ),
        (
            {"rate_limit_anonymous": RATE, "trusted_proxy_hops": 1},
            [
                {"X-Forwarded-For": "192.0.2.1"},
                {"X-Forwarded-For": "::ffff:192.0.2.1"},
                {"X-Forwarded-For": "::FFFF:c000:201"},
                {"X-Forwarded-For": "198.51.100.7,[::ffff:192.0.2.1]:4711"},
            ],
        ),
        (
            {"rate_limit_anonymous": RATE, "trusted_proxy_hops": 1},
            [
                {"X-Forwarded-For": "2001:db8::1"},
                {"X-Forwarded-For": "2001:0DB8:0:0::2"},
                {"X-Forwarded-For": "[2001:db8::0.0.0.3]:80"},
                {"X-Forwarded-For": "2001:db8:0:0:ffff:ffff:ffff:ffff"},
            ],
        ),
        (
            {"service_api_keys": KEY, "rate_limit": RATE},
            [
                {"Api-Key": KEY, "X-Forwarded-For": "192.0.2.1"},
                {"Authorization": f"bearer  {KEY}"},
                {"Authorization": f"Bearer {KEY}", "Api-Key": "another-key-of-nobody-1"},
                {"Authorization": "Bearer another-key-of-nobody-2", "Api-Key": KEY},
            ],
        ),
    ],
)
async def test_rate_is_not_reset_by_what_a_caller_can_change(
    make_settings: MakeSettings, settings: dict[str, Any], same_caller: list[dict[str, str]]
) -> None:
    async with open_client(create_app(make_settings(**settings))) as client:
        answers = [await client.get("/api/stats", headers=each) for each in same_caller]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]


async def test_clients_behind_trusted_proxy_are_told_apart(make_settings: MakeSettings) -> None:
    app = create_app(make_settings(rate_limit_anonymous="1/d", trusted_proxy_hops=1))
    async with open_client(app) as client:

        async def status(forwarded: str) -> int:
            response = await client.get("/api/stats", headers={"X-Forwarded-For": forwarded})
            return response.status_code

        assert await status("192.0.2.1") == 200
        assert await status("198.51.100.7, 192.0.2.1") == 429  # the client adds what it likes
        assert await status("192.0.2.2") == 200
        assert await status("2001:db8::1") == 200
        assert await status("2001:db8::2") == 429


async def test_every_route_that_needs_a_grant_is_limited(make_settings: MakeSettings) -> None:
    app = create_app(make_settings(rate_limit_anonymous="1/d"))
    async with open_client(app) as client:
        assert (await client.get("/api/stats")).status_code == 200
        checked = 0
        for rule in app.url_map.iter_rules():
            _, path = rule.build(dict.fromkeys(rule.arguments, "x")) or ("", "")
            for method in (rule.methods or set()) - {"OPTIONS"} if not rule.websocket else set():
                response = await client.request(method, path)
                if rule.endpoint in PUBLIC_ENDPOINTS:
                    assert response.status_code in {200, 302}, rule
                    assert not HEADERS.keys() & response.headers.keys()
                else:
                    assert response.status_code == 429, (method, rule)
                    checked += 1
        assert checked > 10
        assert (await client.get("/nothing/here")).status_code == 404


async def test_cached_answer_costs_a_fifth(make_settings: MakeSettings) -> None:
    app = create_app(make_settings(rate_limit_anonymous="3/d", cache_ttl=60))
    async with open_client(app) as client:
        first = await client.get(SEARCH)
        assert (first.headers["X-Cache"], remaining(first)) == ("miss", 2)
        for expected in (1, 1, 1, 1, 1, 0):  # 2 - 5 * 0.2 = 1, and a request needs a whole one
            answer = await client.get(SEARCH)
            assert (answer.headers["X-Cache"], remaining(answer)) == ("hit", expected)
        assert (await client.get(SEARCH)).status_code == 429


async def test_later_page_costs_a_fifth(make_settings: MakeSettings) -> None:
    app = create_app(make_settings(rate_limit_anonymous="2/d burst=4"))
    async with open_client(app) as client:
        first = await client.get(f"{SEARCH}&top_k=3&depth=12")
        cursor = first.json()["cursor"]
        pages = [await client.get(f"/api/semantic-search?cursor={cursor}") for _ in range(5)]
        assert [remaining(page) for page in pages] == [2, 2, 2, 2, 2]
        assert remaining(await client.get("/api/stats")) == 1


async def test_stream_gives_back_what_a_cached_answer_does_not_cost(
    make_settings: MakeSettings,
) -> None:
    app = create_app(make_settings(rate_limit_anonymous="4/d", cache_ttl=60))
    path = "/api/cascading-retrieval/stream?text_query=cat"
    async with open_client(app) as client:
        assert remaining(await client.get(path)) == 3
        assert [remaining(await client.get(path)) for _ in range(3)] == [2, 2, 2]


async def test_failed_search_counts(make_settings: MakeSettings, upstream: Upstream) -> None:
    app = create_app(make_settings(rate_limit_anonymous=RATE))
    async with open_client(app) as client:
        upstream.behave(Status(400), "dense")
        failed = await client.get(SEARCH)
        assert (failed.status_code, remaining(failed)) == (422, 2)
        invalid = await client.get("/api/semantic-search?text_query=cat&top_k=0")
        assert (invalid.status_code, remaining(invalid)) == (422, 1)


async def exchange(websocket: Any, seq: int) -> dict[str, Any]:
    """Search, and return the last message about it."""
    await websocket.send(
        json.dumps({"type": "search", "seq": seq, "mode": "semantic", "text_query": f"cat {seq}"})
    )
    while True:
        message: dict[str, Any] = json.loads(await websocket.receive())
        assert message["seq"] == seq
        if message["type"] == "error" or message["stage"] == "done":
            return message


async def test_websocket_searches_count_and_connection_stays(make_settings: MakeSettings) -> None:
    app: Quart = create_app(make_settings(rate_limit_anonymous=RATE, typing_pause_ms=0))
    async with app.test_app():
        async with app.test_client().websocket("/api/search/ws") as websocket:
            answers = [await exchange(websocket, seq) for seq in range(3)]
            assert {answer["type"] for answer in answers} == {"results"}
            for seq in range(3, 40):  # more than the invalid messages that end a connection
                refused = await exchange(websocket, seq)
                assert refused["code"] == "rate_limited"
            assert 28_000 < refused["retry_after"] <= 28_800
            await websocket.send('{"type": "ping"}')
            assert json.loads(await websocket.receive()) == {"type": "pong"}


@pytest.mark.parametrize("name", ["rate_limit", "rate_limit_anonymous"])
def test_invalid_rate_is_named_at_start(make_settings: MakeSettings, name: str) -> None:
    with pytest.raises(StartupFailed, match=f"{name.upper()}: a rate is a number and a period"):
        create_app(make_settings(**{name: "many"}))


async def test_openapi_documents_429_of_limited_routes(local: httpx.AsyncClient) -> None:
    document = (await local.get("/api/openapi.json")).json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("429" in operation["responses"]) == path.startswith("/api/"), path
    described = document["components"]["responses"]["TooManyRequests"]
    assert described["headers"].keys() == HEADERS.keys() | {"Retry-After"}
    assert "`quota_exceeded`, `rate_limited`" in described["description"]
