"""Revoked and expired keys: what runs by them ends, in every process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from service.access.grant import UNRESTRICTED
from service.client import sign_tenant_token
from service.keys.keys import Keys, keys_file
from service.keys.rights import KeyRights
from service.web.search.as_you_type import PATH as SOCKET
from tests.conftest import MakeSettings
from tests.e2e.in_process import serving_in_process
from tests.e2e.process import serving
from tests.upstream import Hang, Upstream

ADMIN = "a-key-of-the-service-1"
POLICY_VIOLATION = 1008
PATIENCE_S = 60


@contextlib.asynccontextmanager
async def admin_client(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=address, headers={"Api-Key": ADMIN}, timeout=PATIENCE_S
    ) as client:
        yield client


async def create(admin: httpx.AsyncClient, **rights: Any) -> tuple[str, str]:
    """The id and the text of a new key."""
    asked = {"name": "x", "actions": ["search", "stats", "imports"]} | rights
    response = await admin.post("/api/keys", json=asked)
    assert response.status_code == 201, response.text
    return response.json()["id"], response.json()["key"]


def connect(address: str, key: str) -> websockets.connect:
    url = address.replace("http", "ws", 1) + SOCKET
    headers = {"Authorization": f"Bearer {key}"}
    return websockets.connect(url, ping_interval=None, additional_headers=headers)


async def close_of(socket: ClientConnection) -> tuple[int | None, str | None]:
    async with asyncio.timeout(PATIENCE_S):
        await socket.wait_closed()
    return socket.close_code, socket.close_reason


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service of two processes."""
    folder = tmp_path_factory.mktemp("workers")
    with (
        Upstream() as upstream,
        serving(upstream, WEB_CONCURRENCY=2, SERVICE_API_KEYS=ADMIN, DATA_DIR=folder) as (_, url),
    ):
        yield url


async def statuses(address: str, key: str) -> set[int]:
    """The statuses of requests over connections of their own, some to each process."""
    found = set()
    for _ in range(8):
        async with httpx.AsyncClient(base_url=address, headers={"Api-Key": key}) as client:
            found.add((await client.get("/api/stats")).status_code)
    return found


async def until(address: str, key: str, status: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await statuses(address, key) != {status}:
            await asyncio.sleep(0.05)


async def test_revoked_key_is_refused_by_every_process(workers: str) -> None:
    async with admin_client(workers) as admin, contextlib.AsyncExitStack() as stack:
        id, key = await create(admin)
        token = sign_tenant_token(key, ["*"], datetime.now(UTC) + timedelta(hours=1))
        await until(workers, key, 200)
        await until(workers, token, 200)
        sockets = [
            await stack.enter_async_context(connect(workers, each)) for each in (key, token) * 4
        ]
        kept = await stack.enter_async_context(connect(workers, ADMIN))
        assert (await admin.delete(f"/api/keys/{id}")).status_code == 200
        for socket in sockets:
            code, reason = await close_of(socket)
            assert code == POLICY_VIOLATION
            assert reason == "The API key is not valid for this service"
        await until(workers, key, 401)
        await until(workers, token, 401)
        await kept.send('{"type": "ping"}')
        assert await kept.recv() == '{"type":"pong"}'


async def test_requests_of_a_revoked_key_end(
    make_settings: MakeSettings, upstream: Upstream, tmp_path: Path
) -> None:
    settings = make_settings(
        service_api_keys=ADMIN,
        data_dir=str(tmp_path),
        search_timeout_max_ms=600_000,
    )
    async with serving_in_process(settings) as (address, _), admin_client(address) as admin:
        id, key = await create(admin)
        upstream.behave(Hang(), "sparse")
        search = {"text_query": "tea", "timeout_ms": 600_000}
        sending = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b'{"_id": "a", "chunk_text": "tea"}\n' * 50
                sending.set()
                await asyncio.sleep(0.05)

        async with httpx.AsyncClient(
            base_url=address, headers={"Api-Key": key}, timeout=PATIENCE_S
        ) as client:
            headers = {"Content-Type": "application/x-ndjson"}
            upload = asyncio.create_task(
                client.post("/api/imports", content=endless(), headers=headers)
            )
            waiting = asyncio.create_task(client.post("/api/lexical-search", json=search))
            path = "/api/cascading-retrieval/stream"
            async with client.stream("POST", path, json=search) as response:
                assert response.status_code == 200
                events = response.aiter_lines()
                assert await anext(events)
                await sending.wait()
                assert (await admin.delete(f"/api/keys/{id}")).status_code == 200
                with pytest.raises(httpx.RemoteProtocolError):
                    async for _ in events:
                        pass
            async with asyncio.timeout(PATIENCE_S):
                refused = await waiting
                with contextlib.suppress(httpx.TransportError):  # it may be sending all the time
                    assert (await upload).status_code == 401
            assert (refused.status_code, refused.json()["code"]) == (401, "key_rejected")
        assert (await admin.get("/api/imports")).json()["imports"] == []


async def test_socket_of_a_key_ends_when_it_expires(workers: str) -> None:
    async with admin_client(workers) as admin:
        soon = datetime.now(UTC) + timedelta(seconds=4)
        _, key = await create(admin, expires_at=soon.isoformat())
        while True:  # the other process may not know the key yet
            with contextlib.suppress(websockets.ConnectionClosed):
                async with connect(workers, key) as socket:
                    await socket.send('{"type": "ping"}')
                    await socket.recv()
                    assert await close_of(socket) == (POLICY_VIOLATION, "The API key has expired")
                    break


async def test_anonymous_socket_ends_with_the_first_key(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    """A service without keys that gets its first one is closed, also to who is connected."""
    settings = make_settings(data_dir=str(tmp_path))
    async with serving_in_process(settings) as (address, _):
        async with connect(address, "") as socket, httpx.AsyncClient(base_url=address) as client:
            assert (await client.get("/api/stats")).status_code == 200
            command = Keys(keys_file(settings.data_dir), None)
            async with command.opened():
                await command.create(KeyRights(name="x", actions=["search"]), UNRESTRICTED)
            code, reason = await close_of(socket)
            assert code == POLICY_VIOLATION
            assert (reason or "").startswith("An API key is required")
            assert (await client.get("/api/stats")).status_code == 401
