"""Cursors: the next page of the same ranking, and what is said where there is none."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.caching.memory import MemoryStore
from service.errors import CursorExpired
from service.retrieval.query import RankedRecord, SearchQuery
from service.settings import load_settings
from service.web.search.cursors import Cursors, Ranking
from tests.clock import Clock
from tests.conftest import MakeSettings, open_client
from tests.records.test_api import fault
from tests.upstream import Status, Upstream, Wrong
from tests.upstream.pinecone import RECORDS
from tests.web.search.test_cache import KEYS, caches
from tests.web.search.test_word_options import create_highlighting

SEMANTIC = "/api/semantic-search"
LEXICAL = "/api/lexical-search"
CASCADE = "/api/cascading-retrieval"
PATHS = [SEMANTIC, LEXICAL, CASCADE]
ASKED: dict[str, Any] = {"text_query": "the road before the winter", "top_k": 3, "depth": 12}


async def ask(client: httpx.AsyncClient, path: str, method: str = "POST", **asked: Any) -> Any:
    if method == "GET":
        response = await client.get(path, params=asked)
    else:
        response = await client.post(path, json=asked)
    assert response.status_code == 200, response.text
    return response.json()


def ids(answer: Any) -> list[str]:
    return [result["_id"] for result in answer["results"]]


async def pages(
    client: httpx.AsyncClient, path: str, method: str = "POST", **repeated: Any
) -> list[Any]:
    """All pages of one ranking."""
    found = [await ask(client, path, method, **ASKED)]
    while cursor := found[-1]["cursor"]:
        found.append(await ask(client, path, method, cursor=cursor, **repeated))
    return found


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_pages_together_are_the_whole_ranking(
    local: httpx.AsyncClient, upstream: Upstream, path: str, method: str
) -> None:
    whole = await ask(local, path, method, **ASKED | {"top_k": 12})
    assert whole["cursor"] is None
    upstream.calls.clear()
    found = await pages(local, path, method)
    assert [result for page in found for result in page["results"]] == whole["results"]
    assert len(whole["results"]) > 6
    assert {len(page["results"]) for page in found[:-1]} == {3}
    assert len(upstream.searches(None)) == (3 if path == CASCADE else 1)
    assert all(call.body["query"]["top_k"] == 12 for call in upstream.searches("dense"))


async def test_a_page_says_that_nothing_was_run(local: httpx.AsyncClient) -> None:
    first = await local.post(CASCADE, json=ASKED)
    asked = {"cursor": first.json()["cursor"]}
    page = await local.get(CASCADE, params=asked)
    assert caches(page) == ["frozen"]
    assert page.json()["receipt"]["stages"] == page.json()["receipt"]["missing"] == []
    assert page.json().keys() == first.json().keys()
    assert page.headers["ETag"] != first.headers["ETag"]
    known = {"If-None-Match": page.headers["ETag"]}
    assert (await local.get(CASCADE, params=asked, headers=known)).status_code == 304


async def test_a_cursor_gives_the_same_page_again_whatever_is_written_meanwhile(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    cursor = (await ask(local, SEMANTIC, **ASKED))["cursor"]
    page = await ask(local, SEMANTIC, cursor=cursor)
    upstream.behave(Status(500), "dense")
    assert (await local.delete("/api/records/cat")).status_code == 503
    again = await ask(local, SEMANTIC, cursor=cursor)
    assert (again["results"], again["cursor"]) == (page["results"], page["cursor"])


async def test_pages_may_be_of_another_size(local: httpx.AsyncClient) -> None:
    whole = ids(await ask(local, SEMANTIC, **ASKED | {"top_k": 12}))
    first = await ask(local, SEMANTIC, **ASKED)
    second = await ask(local, SEMANTIC, cursor=first["cursor"], top_k=5, timeout_ms=100)
    third = await ask(local, SEMANTIC, cursor=second["cursor"])
    assert (ids(second), ids(third)) == (whole[3:8], whole[8:11])
    rest = await ask(local, SEMANTIC, cursor=first["cursor"], top_k=10_000)
    assert (ids(rest), rest["cursor"]) == (whole[3:], None)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_who_repeats_what_was_asked_gets_the_same_page(
    local: httpx.AsyncClient, method: str
) -> None:
    asked = ASKED | {"fields": "kind,length" if method == "GET" else ["kind", "length"]}
    first = await ask(local, CASCADE, method, **asked)
    alone = await ask(local, CASCADE, method, cursor=first["cursor"])
    repeated = await ask(local, CASCADE, method, **asked, cursor=first["cursor"])
    assert repeated["results"] == alone["results"]
    assert alone["results"][0].keys() == {"_id", "score", "kind", "length", "found_by"}


@pytest.mark.parametrize(
    "other",
    [
        {"text_query": "another text"},
        {"text_query": ASKED["text_query"]},  # of two parameters that were given, one is repeated
        ASKED | {"fields": ["kind"]},
        ASKED | {"rerank": "union"},
        {"namespace": "other"},
        {"filter": {"kind": "c"}},
    ],
)
async def test_a_cursor_with_another_question_is_refused(
    local: httpx.AsyncClient, other: dict[str, Any]
) -> None:
    cursor = (await ask(local, SEMANTIC, **ASKED))["cursor"]
    response = await local.post(SEMANTIC, json={**other, "cursor": cursor})
    error = fault(response, 422, "invalid_request")
    assert error["errors"][0]["loc"] == ["cursor"]
    assert error["detail"].startswith("cursor: belongs to another search; send it alone")


def changed(cursor: str) -> list[str]:
    """Cursors that nobody was given."""
    raw = base64.urlsafe_b64decode(cursor)
    other_name = bytes([raw[0] ^ 1]) + raw[1:]
    beyond = raw[:-3] + b"\xff\xff\xff"
    forged = [base64.urlsafe_b64encode(each).decode() for each in (other_name, beyond)]
    return [*forged, cursor[:-4], cursor + "AAAA", "é" * 20, "x", "0", "\x00", cursor[:-1] + "!"]


async def test_a_cursor_that_leads_nowhere_is_a_410(local: httpx.AsyncClient) -> None:
    cursor = (await ask(local, SEMANTIC, **ASKED))["cursor"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{20}", cursor)
    for other in changed(cursor):
        response = await local.get(SEMANTIC, params={"cursor": other})
        error = fault(response, 410, "cursor_expired")
        assert error["detail"] == "cursor is invalid or has expired; run the search again"
        assert response.headers["Cache-Control"] == "no-store"


async def test_a_cursor_leads_on_in_the_search_that_it_comes_from(
    local: httpx.AsyncClient,
) -> None:
    cursor = (await ask(local, SEMANTIC, **ASKED))["cursor"]
    for path in (LEXICAL, CASCADE):
        fault(await local.post(path, json={"cursor": cursor}), 410, "cursor_expired")


async def test_a_cursor_is_its_tenants_own(make_settings: MakeSettings) -> None:
    settings = make_settings(service_api_keys=",".join(KEYS), cache_ttl=60)
    async with open_client(create_app(settings)) as client:

        async def page(key: str, **asked: Any) -> httpx.Response:
            return await client.post(SEMANTIC, json=asked, headers={"Api-Key": key})

        cursor = (await page(KEYS[0], **ASKED)).json()["cursor"]
        assert (await page(KEYS[0], cursor=cursor)).status_code == 200
        fault(await page(KEYS[1], cursor=cursor), 410, "cursor_expired")


async def test_a_kept_answer_has_a_cursor_that_leads_on(make_settings: MakeSettings) -> None:
    async with open_client(create_app(make_settings(cache_ttl=60))) as client:
        first = await ask(client, SEMANTIC, **ASKED)
        kept = await ask(client, SEMANTIC, **ASKED)
        assert kept["receipt"]["cache"] == "hit"
        assert kept["cursor"] == first["cursor"] is not None
        assert len(ids(await ask(client, SEMANTIC, cursor=kept["cursor"]))) == 3


async def test_equal_rankings_have_equal_cursors_and_tags(local: httpx.AsyncClient) -> None:
    """So that an answer which is revalidated with 304 has a cursor that leads on."""
    one, other = [await local.post(SEMANTIC, json=ASKED) for _ in range(2)]
    assert one.json()["cursor"] == other.json()["cursor"]
    assert one.headers["ETag"] == other.headers["ETag"]


async def test_what_is_missing_from_a_ranking_is_missing_from_its_later_pages(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    with upstream.behaving(Status(500), "sparse"):
        first = await ask(local, CASCADE, **ASKED)
    page = await ask(local, CASCADE, cursor=first["cursor"])
    assert (first["degraded"], page["degraded"]) == (True, True)
    assert first["receipt"]["missing"] == page["receipt"]["missing"] == ["lexical"]
    assert {leg for result in page["results"] for leg in result["found_by"]} == {"semantic"}


async def test_highlights_are_on_later_pages_too(make_settings: MakeSettings) -> None:
    async with open_client(create_highlighting(make_settings())) as client:
        asked: dict[str, Any] = {"text_query": "the winter", "top_k": 1, "depth": 5}
        first = await ask(client, LEXICAL, **asked, fields=["kind"], highlight=True)
        (result,) = (await ask(client, LEXICAL, cursor=first["cursor"]))["results"]
    assert result.keys() == {"_id", "score", "kind", "highlights"}
    text = RECORDS[result["_id"]]
    assert {text[start:end] for start, end in result["highlights"]} <= {"the", "winter"}
    assert result["highlights"]


async def test_what_can_not_be_reranked_comes_behind_what_was(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    many = [
        {"_id": str(number), "_score": 1 - number / 1000, "fields": {"chunk_text": f"{number}"}}
        for number in range(250)
    ]
    upstream.behave(Wrong({"result": {"hits": many}, "usage": {"read_units": 1}}), "dense")
    async with open_client(create_app(make_settings())) as client:
        first = await ask(client, SEMANTIC, text_query="road", rerank="union", depth=250, top_k=200)
        rest = await ask(client, SEMANTIC, cursor=first["cursor"])
    (rerank,) = upstream.searches("control")
    assert len(rerank.body["documents"]) == 200
    assert first["receipt"]["stages"][-1]["candidates"] == 200
    assert ids(rest) == [str(i) for i in range(200, 250)]
    scores = [result["score"] for page in (first, rest) for result in page["results"]]
    assert scores == sorted(scores, reverse=True)


async def test_reranked_inside_a_leg_looks_for_no_more_than_can_be_reranked(
    local: httpx.AsyncClient, upstream: Upstream
) -> None:
    await ask(local, CASCADE, text_query="road", depth=500, rerank="per-leg")
    assert {call.body["query"]["top_k"] for call in upstream.searches()} == {200}


async def test_how_deep_a_ranking_goes_is_a_parameter_and_a_setting(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    async with open_client(create_app(make_settings(search_depth=7))) as client:
        assert (await ask(client, SEMANTIC, text_query="cat", top_k=3))["cursor"]
        await ask(client, SEMANTIC, text_query="cat", top_k=9)
        await ask(client, SEMANTIC, text_query="cat", depth=11)
        assert [call.body["query"]["top_k"] for call in upstream.searches()] == [7, 9, 11]
        for wrong in (0, 1001, "many"):
            response = await client.get(SEMANTIC, params={"text_query": "cat", "depth": wrong})
            fault(response, 422, "invalid_request")


async def test_as_many_as_there_are_needs_no_cursor(local: httpx.AsyncClient) -> None:
    assert (await ask(local, SEMANTIC, text_query="cat", top_k=3))["cursor"] is None
    nothing = await ask(local, LEXICAL, text_query="xylophone", depth=50)
    assert (nothing["results"], nothing["cursor"]) == ([], None)


async def test_several_processes_that_share_nothing_give_no_cursors(
    make_settings: MakeSettings,
) -> None:
    async with open_client(create_app(make_settings(web_concurrency=2))) as client:
        assert (await ask(client, SEMANTIC, **ASKED))["cursor"] is None


async def test_a_blank_cursor_is_none(local: httpx.AsyncClient) -> None:
    assert await ask(local, SEMANTIC, "GET", **ASKED, cursor="")
    fault(await local.get(SEMANTIC, params={"cursor": ""}), 422, "empty_query")


@pytest.fixture
async def offline(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The embedded engine with the samples."""
    settings = load_settings(data_dir=str(tmp_path), load_samples=True)
    async with open_client(create_app(settings)) as client:
        yield client


async def test_the_embedded_engine_goes_through_all_that_its_legs_found(
    offline: httpx.AsyncClient,
) -> None:
    first = await ask(offline, CASCADE, text_query="how do I keep bread fresh", highlight=True)
    found, answer = ids(first), first
    while answer["cursor"]:
        answer = await ask(offline, CASCADE, cursor=answer["cursor"])
        found += ids(answer)
        assert all("highlights" in result for result in answer["results"])
    assert len(found) == len(set(found)) >= 50
    deep = await ask(offline, SEMANTIC, text_query="bread", depth=30, top_k=20)
    assert len(ids(await ask(offline, SEMANTIC, cursor=deep["cursor"]))) == 10


RANKING = Ranking(
    SearchQuery("text", 2, "n", "none", {"a": {"$in": [1, "x"]}}, ("a", "b"), ("t",), depth=9),
    ["lexical"],
    [
        RankedRecord(f"id {n}", n / 7, {"text": "é", "n": n, "tags": ["a"]}, ("one",))
        for n in range(5)
    ],
)


async def test_what_is_frozen_comes_back_as_it_was_until_its_time_is_over() -> None:
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


async def test_rankings_make_way_for_newer_ones() -> None:
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
def test_what_can_not_be_frozen_has_no_cursor(odd: Any) -> None:
    cursors = Cursors(MemoryStore(5_000, 0), 300, enabled=True)
    ranking = Ranking(RANKING.query, [], [RankedRecord("a", 1.0, {"odd": odd}, ())])
    assert cursors.store("semantic", "", ranking) is None
