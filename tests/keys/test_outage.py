"""A database of API keys that is down: what was read is used for a while, and nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.access.grant import UNRESTRICTED
from service.errors import KeysUnavailable
from tests.keys.test_keys import accepts, eventually, policy_of, rights, running_keys
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


async def test_keys_work_on_through_a_short_outage(
    path: Path, own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_keys(path, own_postgres.url()) as keys:
        key, text = await keys.create(rights(), UNRESTRICTED)
        own_postgres.kill()
        assert accepts(keys, text)
        for call in (keys.list(UNRESTRICTED), keys.create(rights(), UNRESTRICTED)):
            with pytest.raises(KeysUnavailable, match="can't be reached just now") as error:
                await call
            assert error.value.retry_after
        own_postgres.start()
        await eventually_revoked(keys, key.id)
        assert not accepts(keys, text)
    assert "the database of the API keys" in caplog.text
    assert PASSWORD not in caplog.text
    assert text not in caplog.text


async def eventually_revoked(keys, id: str) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(60):
        while True:
            try:
                await keys.revoke(id, UNRESTRICTED)
            except KeysUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_service_starts_closed_without_its_database(
    path: Path, own_postgres: PostgresServer
) -> None:
    """It may have keys, so nobody gets in until that is known."""
    own_postgres.kill()
    async with running_keys(path, own_postgres.url()) as keys:
        policy = policy_of(keys)
        assert policy.requires_key
        with pytest.raises(KeysUnavailable):
            policy.authenticate([])
        own_postgres.start()
        await eventually(lambda: not policy.requires_key)
        assert policy.authenticate([]) is UNRESTRICTED
