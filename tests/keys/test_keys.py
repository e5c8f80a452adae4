"""The store of API keys, and the keys of a process, on real databases."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.access.grant import UNRESTRICTED
from service.access.key_format import digest_of
from service.access.policy import AccessPolicy
from service.errors import Forbidden, KeyRejected, KeysUnavailable, NotFound
from service.keys.keys import Keys
from service.keys.opening import open_store
from service.keys.rights import KeyRights

PATIENCE_S = 60.0


def rights(**given: Any) -> KeyRights:
    return KeyRights(**{"name": "app", "actions": ["search"]} | given)


@contextlib.asynccontextmanager
async def running_keys(path: Path, url: str | None) -> AsyncIterator[Keys]:
    """The keys of one process."""
    keys = Keys(path, url)
    async with keys.opened():
        await keys.wait_until_read()
        yield keys


def policy_of(keys: Keys) -> AccessPolicy:
    return AccessPolicy([], "127.0.0.1", 0, ring=keys.ring)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


def accepts(keys: Keys, text: str) -> bool:
    try:
        return bool(policy_of(keys).authenticate([text]).key_id)
    except (KeyRejected, KeysUnavailable):
        return False


async def test_created_key_has_its_rights(path: Path, url: str | None) -> None:
    async with running_keys(path, url) as keys:
        assert policy_of(keys).authenticate([]) is UNRESTRICTED
        asked = rights(
            name="Zürich ☃",
            actions=["search", "stats"],
            namespaces=["shop", "shop-*"],
            filter={"tenant": {"$eq": "a"}},
            fields=["title"],
            rate="5/s",
            quota={"records": 7},
            expires_at=datetime.now(UTC) + timedelta(days=1),
        )
        key, text = await keys.create(asked, UNRESTRICTED)
        grant = policy_of(keys).authenticate([text])
        assert (grant.key_id, grant.key_name) == (key.id, "Zürich ☃")
        assert grant.actions == {"search", "stats"}
        assert grant.filter("shop-1") == {"tenant": {"$eq": "a"}}
        assert grant.fields == frozenset({"title"})
        assert not grant.allows_namespace("other")
        assert None not in {grant.rate, grant.quota, grant.expires_at}
        assert await keys.get(key.id, UNRESTRICTED) == key
        assert key.digest == digest_of(text)
        assert policy_of(keys).requires_key


async def test_store_holds_no_key_that_can_be_used(path: Path) -> None:
    async with running_keys(path, None) as keys:
        _, text = await keys.create(rights(), UNRESTRICTED)
        content, modes = await asyncio.to_thread(_content_and_modes, path)
        assert text.encode() not in content
        assert text[-30:].encode() not in content
        assert digest_of(text).hex().encode() in content
        assert modes == [0o600, 0o700]


def _content_and_modes(path: Path) -> tuple[bytes, list[int]]:
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)]
    return path.read_bytes(), modes


async def test_keys_of_other_processes_are_seen(path: Path, url: str | None) -> None:
    """Created, rotated and revoked in one process, and so in the other one, which was open."""
    async with running_keys(path, url) as here, running_keys(path, url) as there:
        key, text = await here.create(rights(), UNRESTRICTED)
        await eventually(lambda: accepts(there, text))
        assert policy_of(there).requires_key
        rotated, new = await there.rotate(key.id, timedelta(), UNRESTRICTED)
        assert rotated.rights == key.rights
        assert accepts(there, new)
        assert not accepts(there, text)
        await eventually(lambda: accepts(here, new) and not accepts(here, text))
        revoked = await there.revoke(key.id, UNRESTRICTED)
        assert revoked.revoked_at
        assert not accepts(there, new)
        await eventually(lambda: not accepts(here, new))
        assert policy_of(here).requires_key


async def test_rotated_key_is_valid_for_its_grace(path: Path, url: str | None) -> None:
    async with running_keys(path, url) as keys:
        key, text = await keys.create(rights(), UNRESTRICTED)
        _, new = await keys.rotate(key.id, timedelta(hours=1), UNRESTRICTED)
        assert accepts(keys, text)
        assert accepts(keys, new)
        old = policy_of(keys).authenticate([text])
        assert old.expires_at is not None
        assert policy_of(keys).authenticate([new]).expires_at is None


async def test_keys_outlive_the_process(path: Path, url: str | None) -> None:
    async with running_keys(path, url) as keys:
        _, text = await keys.create(rights(), UNRESTRICTED)
        gone, _ = await keys.create(rights(name="gone"), UNRESTRICTED)
        await keys.revoke(gone.id, UNRESTRICTED)
    again = Keys(path, url)
    assert again.ring.has_keys, "closed before the store is read"
    with pytest.raises(KeysUnavailable):
        policy_of(again).authenticate([])
    async with again.opened():
        await again.wait_until_read()
        assert accepts(again, text)
        listed = await again.list(UNRESTRICTED)
        assert [(each.rights.name, each.revoked_at is None) for each in listed] == [
            ("gone", False),
            ("app", True),
        ]


async def test_revoked_and_unknown_keys_are_not_found(path: Path, url: str | None) -> None:
    async with running_keys(path, url) as keys:
        for id in ("a" * 16, "x", "../x", ""):
            for call in (keys.get(id, UNRESTRICTED), keys.revoke(id, UNRESTRICTED)):
                with pytest.raises(NotFound):
                    await call
        key, _ = await keys.create(rights(), UNRESTRICTED)
        first = await keys.revoke(key.id, UNRESTRICTED)
        assert await keys.revoke(key.id, UNRESTRICTED) == first
        with pytest.raises(NotFound):
            await keys.rotate(key.id, timedelta(), UNRESTRICTED)


async def test_key_manages_only_keys_within_its_rights(path: Path) -> None:
    async with running_keys(path, None) as keys:
        full, _ = await keys.create(rights(actions=["keys", "search", "stats"]), UNRESTRICTED)
        shop = rights(name="shop", actions=["keys", "search"], namespaces=["shop-*"])
        _, text = await keys.create(shop, UNRESTRICTED)
        admin = policy_of(keys).authenticate([text])
        own, _ = await keys.create(rights(namespaces=["shop-1"]), admin)
        with pytest.raises(Forbidden):
            await keys.create(rights(), admin)
        assert {each.rights.name for each in await keys.list(admin)} == {"shop", "app"}
        for call in (
            keys.get(full.id, admin),
            keys.revoke(full.id, admin),
            keys.rotate(full.id, timedelta(), admin),
        ):
            with pytest.raises(NotFound):
                await call
        await keys.revoke(own.id, admin)


async def test_concurrent_changes_are_all_seen(path: Path, url: str | None) -> None:
    async with running_keys(path, url) as here, running_keys(path, url) as there:
        made = await asyncio.gather(
            *(each.create(rights(), UNRESTRICTED) for each in (here, there) * 10)
        )
        await eventually(lambda: all(accepts(here, text) for _, text in made))
        await eventually(lambda: all(accepts(there, text) for _, text in made))


async def test_key_with_rights_of_a_newer_version_is_refused(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_keys(path, None) as keys:
        key, text = await keys.create(rights(), UNRESTRICTED)
        _, other = await keys.create(rights(), UNRESTRICTED)
        store, database = await open_store(None, path)
        newer = '{"name": "app", "actions": ["search"], "only_on_sundays": true}'
        await store._change(key.id, rights=newer)
        await database.close()
        await eventually(lambda: not accepts(keys, text))
        assert accepts(keys, other)
    assert f"the API key {key.id} has rights that this version does not know" in caplog.text


async def test_deleted_file_does_not_open_a_running_service(path: Path) -> None:
    async with running_keys(path, None) as keys:
        _, text = await keys.create(rights(), UNRESTRICTED)
        await asyncio.to_thread(path.unlink)
        with pytest.raises(KeysUnavailable):
            await keys._refresh()
        assert policy_of(keys).requires_key
        assert accepts(keys, text)
