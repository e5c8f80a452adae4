"""Tests for the parameters `match_terms`, `typos` and `highlight`."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Quart

from service.access.limiting.account import Limits
from service.access.limiting.memory_store import MemoryLimitStore
from service.access.pending_hellos import PendingHellos
from service.access.policy import AccessPolicy
from service.app import create_app
from service.backends import choose_backend
from service.backends.protocol import Backend, OpenBackend
from service.backends.search_backend import SearchBackend
from service.caching.answer_cache import AnswerCache
from service.caching.memory_store import MemoryStore
from service.lifecycle import Lifecycle
from service.retrieval.query import Highlight, Highlighter, StageEvent
from service.retrieval.receipt import Receipt
from service.settings import Settings, load_settings
from service.web import authentication, errors, rate_limits, request_context
from service.web.metrics.metrics import Metrics
from service.web.search.cursors import Cursors
from service.web.search.highlighting import ResultHighlighter
from service.web.search.parsing import RequestParser
from service.web.search.rendering import AnswerRenderer
from service.web.search.routes import search_blueprint
from service.web.search.service import SearchService
from tests.conftest import Client, MakeSettings, open_client
from tests.upstream import Upstream
from tests.web.search.test_validation import assert_error

LEXICAL = "/api/lexical-search"
CASCADE = "/api/cascading-retrieval"


@pytest.mark.parametrize("body", [True, False])
async def test_match_terms_are_sent_to_records_index(
    client: Client, upstream: Upstream, body: bool
) -> None:
    if body:
        parameters = {"text_query": "the cat", "match_terms": ["cat", "warm sill"]}
        response = await client.post(LEXICAL, json=parameters)
    else:
        response = await client.get(f"{LEXICAL}?text_query=the+cat&match_terms=cat,warm+sill")
    assert response.status_code == 200
    (call,) = upstream.searches("sparse")
    assert call.body["query"]["match_terms"] == {"strategy": "all", "terms": ["cat", "warm sill"]}


@pytest.mark.parametrize(
    ("filter", "sent"),
    [
        (None, {"chunk_text": {"$match_all": "cat warm"}}),
        ({"kind": "c"}, {"$and": [{"kind": "c"}, {"chunk_text": {"$match_all": "cat warm"}}]}),
    ],
)
async def test_match_terms_become_filter_of_documents_index(
    make_settings: MakeSettings, upstream: Upstream, filter: Any, sent: Any
) -> None:
    settings = make_settings(pinecone_dialect="documents", pinecone_sparse_clause="text")
    async with open_client(create_app(settings)) as client:
        parameters = {"text_query": "cat", "match_terms": ["cat", "warm"], "filter": filter}
        assert (await client.post(LEXICAL, json=parameters)).status_code == 200
    (call,) = upstream.searches("sparse")
    assert call.body["filter"] == sent


@pytest.mark.parametrize(
    ("path", "query", "hint"),
    [
        (CASCADE, "match_terms=cat", "match_terms: is supported only by lexical search"),
        (
            "/api/semantic-search",
            "match_terms=cat",
            "match_terms: is supported only by lexical search",
        ),
        (LEXICAL, "match_terms=", "1 to 512 characters"),
        (LEXICAL, "match_terms=a,,b", "1 to 512 characters"),
        (LEXICAL, "match_terms=" + ",".join("a" * 33), "32"),
        (LEXICAL, "typos=true", "embedded"),
        (CASCADE, "typos=true", "embedded"),
        ("/api/semantic-search", "typos=true", "lexical and cascading"),
        (LEXICAL, "typos=perhaps", "true or false"),
        (LEXICAL, "highlight=true", "embedded"),
        ("/api/semantic-search", "highlight=true", "lexical and cascading"),
        (LEXICAL, "highlight=2", "true or false"),
    ],
)
async def test_unsupported_word_option_is_rejected(
    client: Client, upstream: Upstream, path: str, query: str, hint: str
) -> None:
    response = await client.get(f"{path}?text_query=cat&{query}")
    body = await assert_error(response, 422, "invalid_request")
    assert body["errors"][0]["loc"][0] == query.partition("=")[0]
    assert hint in body["detail"]
    assert upstream.searches() == []


async def test_disabled_word_options_are_always_accepted(client: Client) -> None:
    response = await client.get("/api/semantic-search?text_query=cat&typos=false&highlight=false")
    assert response.status_code == 200


def find_words(query: str, _: bool) -> Highlight:
    pattern = "|".join(re.escape(word) for word in query.split())
    return lambda text: [match.span() for match in re.finditer(pattern, text)]


class HighlightingSources:
    """A backend with a highlighter."""

    def __init__(self, backend: Backend, highlighter: Highlighter) -> None:
        self._highlighter = highlighter
        self.max_reranked = backend.max_reranked
        self.reranks_by_default = backend.reranks_by_default
        self._backend = backend

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[OpenBackend]:
        async with self._backend.opened() as opened:
            yield replace(opened, highlighter=self._highlighter)


def create_highlighting_app(settings: Settings, highlighter: Highlighter = find_words) -> Quart:
    """An app with the searches of such a backend."""
    answers: AnswerCache[StageEvent, Receipt] = AnswerCache(store := MemoryStore(2**20, 0), 0)
    sources = HighlightingSources(choose_backend(settings), highlighter)
    backend = SearchBackend(sources, 1, store.invalidate)
    app = Quart("service", static_folder=None)
    request_context.install(app, Lifecycle())
    errors.install(app)
    authentication.install(app, AccessPolicy((), "127.0.0.1", 0), PendingHellos())
    rate_limits.install(app, Limits(MemoryLimitStore()))
    cursors = Cursors(store, 60, enabled=True)
    parser = RequestParser(settings, reranks_by_default=backend.reranks_by_default)
    renderer = AnswerRenderer(settings.pinecone_text_field, settings.max_answer_bytes)
    results = ResultHighlighter(settings.pinecone_text_field, backend)
    service = SearchService(backend, renderer, results, answers, cursors, Metrics())
    app.register_blueprint(search_blueprint(parser, service))
    stack = contextlib.AsyncExitStack()

    @app.before_serving
    async def open_backend() -> None:
        await stack.enter_async_context(backend.opened())

    app.after_serving(stack.aclose)
    return app


@pytest.mark.parametrize("path", [LEXICAL, CASCADE])
@pytest.mark.parametrize("fields", [None, ["kind"], ["*"]])
async def test_highlights_are_character_ranges_of_matches(
    make_settings: MakeSettings, path: str, fields: Any
) -> None:
    async with open_client(create_highlighting_app(make_settings())) as client:
        parameters = {"text_query": "warm cat", "highlight": True, "top_k": 1, "rerank": "none"}
        response = await client.post(path, json={**parameters, "fields": fields})
        (result,) = response.json()["results"]
    text = "The cat sleeps on the warm windowsill all afternoon"
    assert [text[start:end] for start, end in result["highlights"]] == ["cat", "warm"]
    assert ("chunk_text" in result) == (fields != ["kind"])


async def test_highlights_leave_event_loop_free(make_settings: MakeSettings) -> None:
    """And the query is analyzed once, however many results there are."""
    queries: list[str] = []
    has_begun, may_end = threading.Event(), threading.Event()

    def wait(query: str, _: bool) -> Highlight:
        queries.append(query)
        has_begun.set()
        assert may_end.wait(10)
        return lambda _: [(0, 3)]

    async with open_client(create_highlighting_app(make_settings(), wait)) as client:
        parameters = {"text_query": "the", "highlight": True, "top_k": 3, "timeout_ms": 10_000}
        search = asyncio.create_task(client.post(LEXICAL, json=parameters))
        assert await asyncio.to_thread(has_begun.wait, 10)
        assert (await client.post(LEXICAL, json={"text_query": "dog"})).status_code == 200
        may_end.set()
        results = (await search).json()["results"]
    assert [result["highlights"] for result in results] == [[[0, 3]]] * len(results)
    assert len(results) > 1
    assert queries == ["the"]


async def test_late_highlights_are_missing_from_answer(
    make_settings: MakeSettings,
) -> None:
    may_end = threading.Event()

    def wait(*_: object) -> Highlight:
        may_end.wait(10)
        return lambda _: []

    async with open_client(create_highlighting_app(make_settings(), wait)) as client:
        parameters = {"text_query": "cat", "highlight": True, "timeout_ms": 300}
        answer = (await client.post(LEXICAL, json=parameters)).json()
        may_end.set()
    assert answer["results"]
    assert all("highlights" not in result for result in answer["results"])
    assert answer["degraded"]
    receipt = answer["receipt"]
    assert receipt["missing"] == ["highlight"]
    assert receipt["stages"][-1]["status"] == "late"
    assert receipt["stages"][-1]["error"] == "deadline_exceeded"


@pytest.fixture
async def embedded_client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The embedded engine with the samples."""
    settings = load_settings(data_dir=str(tmp_path), load_samples=True)
    async with open_client(create_app(settings)) as client:
        yield client


@pytest.mark.parametrize("path", [LEXICAL, CASCADE])
async def test_embedded_typos_match_misspelled_word(
    embedded_client: httpx.AsyncClient, path: str
) -> None:
    async def codes(**options: Any) -> set[str]:
        parameters = {"text_query": "dishwaser", "top_k": 20, **options}
        results = (await embedded_client.post(path, json=parameters)).json()["results"]
        return {result["_id"] for result in results if "lexical" in result.get("found_by", path)}

    assert await codes() == set()
    assert any(id.startswith("quillmere-dw") for id in await codes(typos=True))


async def test_highlights_mark_words_that_typos_found(embedded_client: httpx.AsyncClient) -> None:
    asked = {"text_query": "dishwaser", "typos": True, "highlight": True}
    results = (await embedded_client.post(LEXICAL, json=asked)).json()["results"]
    assert results
    for result in results:
        spans = result["highlights"]
        assert {result["chunk_text"][start:end].lower() for start, end in spans} <= {
            "dishwasher",
            "dishwashers",
        }
        assert spans


@pytest.mark.parametrize("path", [LEXICAL, CASCADE])
async def test_offsets_of_highlights_can_be_utf16(
    embedded_client: httpx.AsyncClient, path: str
) -> None:
    """As JavaScript slices: an emoji has two code units."""
    text = "🍞🧈 zwieback, café, 🍓 zwieback"
    await embedded_client.post(
        "/api/records?wait=visible", json={"_id": "zwieback", "chunk_text": text}
    )
    asked: dict[str, Any] = {"text_query": "zwieback", "highlight": True, "top_k": 1}

    async def words(**options: Any) -> tuple[list[str], list[str]]:
        response = await embedded_client.get(path, params=asked | options)
        (result,) = response.json()["results"]
        spans, encoded = result["highlights"], text.encode("utf-16-le")
        utf16 = [
            encoded[2 * start : 2 * end].decode("utf-16-le", "replace") for start, end in spans
        ]
        return [text[start:end] for start, end in spans], utf16

    characters, _ = await words()
    assert characters == ["zwieback", "zwieback"]
    assert (await words(offsets="characters"))[0] == characters
    _, utf16 = await words(offsets="utf16")
    assert utf16 == characters
    response = await embedded_client.get(path, params=asked | {"offsets": "bytes"})
    assert response.status_code == 422
    assert response.json()["detail"] == "offsets: must be 'characters' or 'utf16'"


async def test_embedded_highlights_and_match_terms(embedded_client: httpx.AsyncClient) -> None:
    parameters = {"text_query": "dishwasher door", "highlight": True, "match_terms": ["dishwasher"]}
    results = (await embedded_client.post(LEXICAL, json=parameters)).json()["results"]
    assert results
    for result in results:
        text = result["chunk_text"]
        marked = {text[start:end].lower() for start, end in result["highlights"]}
        assert any(word.startswith("dishwasher") for word in marked)
        assert all(word.startswith(("dishwasher", "door")) for word in marked)


IDENTIFIERS = [
    ("NO_PROXY", "NO_PROXY lists the hosts that are reached directly.", "No proxy, a proxy: no."),
    ("E61", "The display shows E61 when the float has risen.", "Code 61 of the series E"),
    ("dw-e11", "Manual of the dw-e11, a dishwasher.", "dw e11 dw e11: the dw and the e11"),
    ("v10.2.0", "Fixed in v10.2.0 of the client.", "v10 has 2 parts and 0 faults: v10 2 0"),
    ("foo.bar()", "It calls foo.bar() in a loop.", "foo bar foo bar"),
]


@pytest.mark.parametrize("path", [LEXICAL, CASCADE])
async def test_identifiers_are_found_as_a_whole(
    embedded_client: httpx.AsyncClient, path: str
) -> None:
    records = [
        {"_id": f"{identifier}, {name}", "chunk_text": text}
        for identifier, whole, apart in IDENTIFIERS
        for name, text in (("whole", whole), ("apart", apart))
    ]
    await embedded_client.post("/api/records?wait=visible", json=records)
    for identifier, _, _ in IDENTIFIERS:
        answer = await embedded_client.get(path, params={"text_query": identifier})
        assert answer.json()["results"][0]["_id"] == f"{identifier}, whole"
