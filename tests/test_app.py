"""The app: opening, closing and start-up errors."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pinecone import AsyncIndex
from starlette.applications import Starlette
from starlette.routing import Mount

from service.app import create_app, running
from service.errors import StartupFailed
from tests.conftest import MakeSettings
from tests.upstream import Hang, Status, Upstream


async def test_app_pings_every_lane_before_it_serves(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    async with running(create_app(make_settings(pinecone_lanes=3))):
        pings = [call.index for call in upstream.calls]
        assert sorted(pings) == ["dense"] * 3 + ["sparse"] * 3
        assert {call.path for call in upstream.calls} == {"/describe_index_stats"}


async def test_app_closes_every_connection_after_serving(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    async with create_app(make_settings()).test_app() as app:
        response = await app.test_client().get("/api/cascading-retrieval?text_query=cat")
        assert response.status_code == 200
        assert upstream.connections > 0
    await upstream.until(lambda: upstream.connections == 0)


async def test_app_closes_opened_indexes_if_a_later_one_fails(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    upstream.behave(Status(403), "sparse")
    opened: list[AsyncIndex] = []
    closed: list[str] = []

    class Watched(AsyncIndex):
        async def close(self) -> None:
            closed.append(self.host)
            await super().close()

    def open_watched(host: str, api_key: str, _: int) -> AsyncIndex:
        opened.append(Watched(host=host, api_key=api_key))
        return opened[-1]

    app = create_app(make_settings(), open_lane=open_watched)
    with pytest.raises(StartupFailed, match=r"PINECONE_SPARSE_INDEX_HOST.*upstream_forbidden"):
        await app.startup()
    assert len(opened) == 4
    assert sorted(closed) == sorted(index.host for index in opened)


async def test_startup_error_of_a_rejected_key_names_the_setting(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    with pytest.raises(StartupFailed, match="PINECONE_API_KEY") as failed:
        await create_app(make_settings(pinecone_api_key="wrong-key-123")).startup()
    assert "wrong-key-123" not in failed.value.detail
    assert len(upstream.calls) == 1  # one lane alone finds it out


async def test_startup_times_out_if_the_upstream_hangs(
    make_settings: MakeSettings, upstream: Upstream
) -> None:
    upstream.behave(Hang(), "dense")
    with pytest.raises(StartupFailed, match="STARTUP_TIMEOUT_S"):
        await create_app(make_settings(startup_timeout_s=0.2)).startup()
    await upstream.until(lambda: upstream.connections == 0)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"pinecone_rerank_model": "gpt"}, "PINECONE_RERANK_MODEL.*cohere-rerank-3.5"),
        ({"pinecone_top_k": 500}, "PINECONE_TOP_K.*200"),
    ],
)
def test_create_app_raises_what_needs_no_open_resource(
    make_settings: MakeSettings, wrong: dict[str, Any], hint: str
) -> None:
    with pytest.raises(StartupFailed, match=hint):
        create_app(make_settings(**wrong))


async def test_app_that_is_not_open_is_unavailable(make_settings: MakeSettings) -> None:
    client = create_app(make_settings()).test_client()
    response = await client.get("/api/semantic-search?text_query=cat")
    assert response.status_code == 503
    assert (await response.get_json())["code"] == "unavailable"
    assert (await client.get("/readyz")).status_code == 503


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
async def test_app_mounted_in_starlette_opens_and_closes(
    make_settings: MakeSettings, upstream: Upstream, framework: str
) -> None:
    """`Mount` does not pass the lifespan on; `running` is what the outer app enters instead."""
    search: Any = create_app(make_settings())

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with running(search):
            yield

    outer: Any
    if framework == "starlette":
        outer = Starlette(routes=[Mount("/search", app=search)], lifespan=lifespan)
    else:
        outer = FastAPI(lifespan=lifespan)
        outer.mount("/search", search)

    async with outer.router.lifespan_context(outer):
        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.get("/search/api/semantic-search?text_query=cat")
            assert answer.status_code == 200
            assert answer.json()["results"][0]["_id"] == "cat"
            assert (await client.get("/search/readyz")).json()["status"] == "ready"
            root = await client.get("/search/")
            assert root.headers["location"] == "/search/api/docs"
            missing = await client.get("/search/nowhere")
            assert json.loads(missing.text)["code"] == "not_found"
    await upstream.until(lambda: upstream.connections == 0)
