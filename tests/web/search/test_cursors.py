"""Tests for cursors over HTTP, and for their store."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.caching.memory_store import MemoryStore
from service.errors import CursorExpired
from service.retrieval.query import RankedRecord, SearchQuery
from service.settings import load_settings
from service.web.search.cursors import Cursors, Ranking
from tests.clock import Clock
from tests.conftest import MakeSettings, open_client
from tests.records.test_api import check_error
from tests.upstream import Status, Upstream, Wrong
from tests.upstream.pinecone import RECORDS
from tests.web.search.test_cache import KEYS, cache_sources
from tests.web.search.test_word_options import create_highlighting_app

SEMANTIC = "/api/semantic-search"
LEXICAL = "/api/lexical-search"
CASCADE = "/api/cascading-retrieval"
PATHS = [SEMANTIC, LEXICAL, CASCADE]
PARAMS: dict[str, Any] = {"text_query": "the road before the winter", "top_k": 3, "depth": 12}


async def search(
    client: httpx.AsyncClient, path: str, method: str = "POST", **parameters: Any
) -> Any:
    if method == "GET":
        response = await client.get(path, params=parameters)
    else:
        response = await client.post(path, json=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def ids(answer: Any) -> list[str]:
    return [result["_id"] for result in answer["results"]]


async def all_pages(
    client: httpx.AsyncClient, path: str, method: str = "POST", **repeated: Any
) -> list[Any]:
    """All pages of one ranking."""
    found = [await search(client, path, method, **PARAMS)]
    while cursor := found[-1]["cursor"]:
        found.append(await search(client, path, method, cursor=cursor, **repeated))
    return found


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_pages_concatenate_to_whole_ranking(
    local: httpx.AsyncClient, upstream: Upstream, path: str, method: str
) -> None:
    whole = await search(local, path, method, **PARAMS | {"top_k": 12})
    assert whole["cursor"] is None
    upstream.calls.clear()
    found = await all_pages(local, path, method)
    assert [result for page in found for result in page["results"]] == whole["results"]
    assert len(whole["results"]) > 6
    assert {len(page["results"]) for page in found[:-1]} == {3}
    assert len(upstream.searches(None)) == (3 if path == CASCADE else 1)
    assert all(call.body["query"]["top_k"] == 12 for call in upstream.searches("dense"))


async def test_later_page_has_frozen_receipt_and_etag(local: httpx.AsyncClient) -> None:
    first = await local.post(CASCADE, json=PARAMS)
    parameters = {"cursor": first.json()["cursor"]}
    page = await local.get(CASCADE, params=parameters)
    assert cache_sources(page) == ["frozen"]
    assert page.json()["receipt"]["stages"] == page.json()["receipt"]["missing"] == []
    assert page.json().keys() == first.json().keys()
    assert page.headers["ETag"] != first.headers["ETag"]
    known = {"If-None-Match": page.headers["ETag"]}
    assert (await local.get(CASCADE, params=parameters, headers=known)).status_code == 304


async def test_cursor_returns_same_page_after_write(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    cursor = (await search(local, SEMANTIC, **PARAMS))["cursor"]
    page = await search(local, SEMANTIC, cursor=cursor)
    upstream.behave(Status(500), "dense")
    assert (await local.delete("/api/records/cat")).status_code == 503
    again = await search(local, SEMANTIC, cursor=cursor)
    assert (again["results"], again["cursor"]) == (page["results"], page["cursor"])


async def test_page_size_may_change_between_pages(local: httpx.AsyncClient) -> None:
    whole = ids(await search(local, SEMANTIC, **PARAMS | {"top_k": 12}))
    first = await search(local, SEMANTIC, **PARAMS)
    second = await search(local, SEMANTIC, cursor=first["cursor"], top_k=5, timeout_ms=5000)
    third = await search(local, SEMANTIC, cursor=second["cursor"])
    assert (ids(second), ids(third)) == (whole[3:8], whole[8:11])
    rest = await search(local, SEMANTIC, cursor=first["cursor"], top_k=10_000)
    assert (ids(rest), rest["cursor"]) == (whole[3:], None)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_cursor_with_original_parameters_returns_same_page(
    local: httpx.AsyncClient, method: str
) -> None:
    parameters = PARAMS | {"fields": "kind,length" if method == "GET" else ["kind", "length"]}
    first = await search(local, CASCADE, method, **parameters)
    alone = await search(local, CASCADE, method, cursor=first["cursor"])
    repeated = await search(local, CASCADE, method, **parameters, cursor=first["cursor"])
    assert repeated["results"] == alone["results"]
    assert alone["results"][0].keys() == {"_id", "score", "kind", "length", "found_by"}


@pytest.mark.parametrize(
    "other",
    [
        {"text_query": "another text"},
        {"text_query": PARAMS["text_query"]},  # only one of the original parameters
        PARAMS | {"fields": ["kind"]},
        PARAMS | {"rerank": "union"},
        {"namespace": "other"},
        {"filter": {"kind": "c"}},
    ],
)
async def test_cursor_with_other_parameters_is_rejected(
    local: httpx.AsyncClient, other: dict[str, Any]
) -> None:
    cursor = (await search(local, SEMANTIC, **PARAMS))["cursor"]
    response = await local.post(SEMANTIC, json={**other, "cursor": cursor})
    error = check_error(response, 422, "invalid_request")
    assert error["errors"][0]["loc"] == ["cursor"]
    assert error["detail"].startswith("cursor: belongs to another search; send it alone")


def invalid_cursors(cursor: str) -> list[str]:
    """Cursors that the service has not issued."""
    raw = base64.urlsafe_b64decode(cursor)
    other_name = bytes([raw[0] ^ 1]) + raw[1:]
    beyond = raw[:-3] + b"\xff\xff\xff"
    forged = [base64.urlsafe_b64encode(each).decode() for each in (other_name, beyond)]
    return [*forged, cursor[:-4], cursor + "AAAA", "é" * 20, "x", "0", "\x00", cursor[:-1] + "!"]


async def test_invalid_cursor_is_410(local: httpx.AsyncClient) -> None:
    cursor = (await search(local, SEMANTIC, **PARAMS))["cursor"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{20}", cursor)
    for other in invalid_cursors(cursor):
        response = await local.get(SEMANTIC, params={"cursor": other})
        error = check_error(response, 410, "cursor_expired")
        assert error["detail"] == "cursor is invalid or has expired; run the search again"
        assert response.headers["Cache-Control"] == "no-store"


async def test_cursor_of_another_mode_is_410(
    local: httpx.AsyncClient,
) -> None:
    cursor = (await search(local, SEMANTIC, **PARAMS))["cursor"]
    for path in (LEXICAL, CASCADE):
        check_error(await local.post(path, json={"cursor": cursor}), 410, "cursor_expired")


async def test_cursor_of_another_tenant_is_410(make_settings: MakeSettings) -> None:
    settings = make_settings(service_api_keys=",".join(KEYS), cache_ttl=60)
    async with open_client(create_app(settings)) as client:

        async def page(key: str, **parameters: Any) -> httpx.Response:
            return await client.post(SEMANTIC, json=parameters, headers={"Api-Key": key})

        cursor = (await page(KEYS[0], **PARAMS)).json()["cursor"]
        assert (await page(KEYS[0], cursor=cursor)).status_code == 200
        check_error(await page(KEYS[1], cursor=cursor), 410, "cursor_expired")


async def test_cached_answer_has_valid_cursor(make_settings: MakeSettings) -> None:
    async with open_client(create_app(make_settings(cache_ttl=60))) as client:
        first = await search(client, SEMANTIC, **PARAMS)
        cached = await search(client, SEMANTIC, **PARAMS)
        assert cached["receipt"]["cache"] == "hit"
        assert cached["cursor"] == first["cursor"] is not None
        assert len(ids(await search(client, SEMANTIC, cursor=cached["cursor"]))) == 3


async def test_equal_rankings_have_equal_cursors_and_etags(local: httpx.AsyncClient) -> None:
    """So the cursor of a response that is revalidated with 304 stays valid."""
    one, other = [await local.post(SEMANTIC, json=PARAMS) for _ in range(2)]
    assert one.json()["cursor"] == other.json()["cursor"]
    assert one.headers["ETag"] == other.headers["ETag"]


async def test_later_page_reports_missing_leg(local: httpx.AsyncClient, upstream: Upstream) -> None:
    with upstream.behaving(Status(500), "sparse"):
        first = await search(local, CASCADE, **PARAMS)
    page = await search(local, CASCADE, cursor=first["cursor"])
    assert (first["degraded"], page["degraded"]) == (True, True)
    assert first["receipt"]["missing"] == page["receipt"]["missing"] == ["lexical"]
    assert {leg for result in page["results"] for leg in result["found_by"]} == {"semantic"}


async def test_later_page_has_highlights(make_settings: MakeSettings) -> None:
    async with open_client(create_highlighting_app(make_settings())) as client:
        parameters: dict[str, Any] = {"text_query": "the winter", "top_k": 1, "depth": 5}
        first = await search(client, LEXICAL, **parameters, fields=["kind"], highlight=True)
        (result,) = (await search(client, LEXICAL, cursor=first["cursor"]))["results"]
    assert result.keys() == {"_id", "score", "kind", "highlights"}
    text = RECORDS[result["_id"]]
    assert {text[start:end] for start, end in result["highlights"]} <= {"the", "winter"}
    assert result["highlights"]


async def test_results_beyond_rerank_limit_follow_reranked_ones(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    many = [
        {"_id": str(number), "_score": 1 - number / 1000, "fields": {"chunk_text": f"{number}"}}
        for number in range(250)
    ]
    upstream.behave(Wrong({"result": {"hits": many}, "usage": {"read_units": 1}}), "dense")
    async with open_client(create_app(make_settings())) as client:
        first = await search(
            client, SEMANTIC, text_query="road", rerank="union", depth=250, top_k=200
        )
        rest = await search(client, SEMANTIC, cursor=first["cursor"])
    (rerank,) = upstream.searches("control")
    assert len(rerank.body["documents"]) == 200
    assert first["receipt"]["stages"][-1]["candidates"] == 200
    assert ids(rest) == [str(i) for i in range(200, 250)]
    scores = [result["score"] for page in (first, rest) for result in page["results"]]
    assert scores == sorted(scores, reverse=True)


async def test_per_leg_rerank_caps_depth_at_rerank_limit(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    await search(local, CASCADE, text_query="road", depth=500, rerank="per-leg")
    assert {call.body["query"]["top_k"] for call in upstream.searches()} == {200}


async def test_depth_is_parameter_and_setting(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    async with open_client(create_app(make_settings(search_depth=7))) as client:
        assert (await search(client, SEMANTIC, text_query="cat", top_k=3))["cursor"]
        await search(client, SEMANTIC, text_query="cat", top_k=9)
        await search(client, SEMANTIC, text_query="cat", depth=11)
        assert [call.body["query"]["top_k"] for call in upstream.searches()] == [7, 9, 11]
        for wrong in (0, 1001, "many"):
            response = await client.get(SEMANTIC, params={"text_query": "cat", "depth": wrong})
            check_error(response, 422, "invalid_request")


async def test_cursor_is_null_without_more_results(local: httpx.AsyncClient) -> None:
    assert (await search(local, SEMANTIC, text_query="cat", top_k=3))["cursor"] is None
    nothing = await search(local, LEXICAL, text_query="xylophone", depth=50)
    assert (nothing["results"], nothing["cursor"]) == ([], None)


async def test_cursor_is_null_with_several_processes_without_redis(
    make_settings: MakeSettings,
) -> None:
    async with open_client(create_app(make_settings(web_concurrency=2))) as client:
        assert (await search(client, SEMANTIC, **PARAMS))["cursor"] is None


async def test_empty_cursor_is_ignored(local: httpx.AsyncClient) -> None:
    assert await search(local, SEMANTIC, "GET", **PARAMS, cursor="")
    check_error(await local.get(SEMANTIC, params={"cursor": ""}), 422, "empty_query")


@pytest.fixture
async def embedded_client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The embedded engine with the samples."""
    settings = load_settings(data_dir=str(tmp_path), load_samples=True)
    async with open_client(create_app(settings)) as client:
        yield client


async def test_embedded_cursors_cover_all_candidates(
    embedded_client: httpx.AsyncClient,
) -> None:
    first = await search(
        embedded_client, CASCADE, text_query="how do I keep bread fresh", highlight=True
    )
    found, answer = ids(first), first
    while answer["cursor"]:
        answer = await search(embedded_client, CASCADE, cursor=answer["cursor"])
        found += ids(answer)
        assert all("highlights" in result for result in answer["results"])
    assert len(found) == len(set(found)) >= 50
    deep = await search(embedded_client, SEMANTIC, text_query="bread", depth=30, top_k=20)
    assert len(ids(await search(embedded_client, SEMANTIC, cursor=deep["cursor"]))) == 10


RANKING = Ranking(
    SearchQuery("text", 2, "n", "none", {"a": {"$in": [1, "x"]}}, ("a", "b"), ("t",), depth=9),
    ["lexical"],
    [
        RankedRecord(f"id {n}", n / 7, {"text": "é", "n": n, "tags": ["a"]}, ("one",))
        for n in range(5)
    ],
)


async def test_cursors_load_stored_ranking_until_it_expires() -> None:
    clock = Clock()
    cursors = Cursors(MemoryStore(100_000, 0, clock), 300, enabled=True)
    cursor = cursors.store("semantic", "tenant", RANKING)
    assert cursor is not None
    clock.now += 299
    page = await cursors.load("semantic", "tenant", cursor)
    assert page.ranking == RANKING
    clock.now += 1
    with pytest.raises(CursorExpired):
        await cursors.load("semantic", "tenant", cursor)


async def test_cursors_evict_oldest_ranking() -> None:
    cursors = Cursors(MemoryStore(5_000, 0), 300, enabled=True)
    given = [
        cursors.store(
            "semantic", "", Ranking(SearchQuery(str(n), 2, "n", "none"), [], RANKING.results)
        )
        for n in range(20)
    ]
    assert all(given)
    with pytest.raises(CursorExpired):
        await cursors.load("semantic", "", given[0] or "")
    assert await cursors.load("semantic", "", given[-1] or "")
    large = Ranking(RANKING.query, [], [RankedRecord("a", 1.0, {"text": "x" * 6_000}, ())])
    assert cursors.store("semantic", "", large) is None


@pytest.mark.parametrize("odd", [2**70, object(), "\ud800"])
def test_cursors_skip_ranking_that_cannot_be_encoded(odd: Any) -> None:
    cursors = Cursors(MemoryStore(5_000, 0), 300, enabled=True)
    ranking = Ranking(RANKING.query, [], [RankedRecord("a", 1.0, {"odd": odd}, ())])
    assert cursors.store("semantic", "", ranking) is None
