"""`Keys`: the API keys of an app, while it runs.

A task compares the revision of the store with that of the last reading every second, so a key that
another process revoked is refused within two. If the store can't be reached, `KeyRing` decides how
long what was read is good for. A service that has never had a key has no file of keys, and opens no
database.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from service.access.grant import Grant
from service.access.key_format import KEY_ID, digest_of, new_key
from service.access.key_ring import KeyRing
from service.backoff import Backoff
from service.concurrency import wait_until_set
from service.database.loading import load
from service.errors import KeysUnavailable, NotFound
from service.keys.key import ApiKey, create
from service.keys.rights import KeyRights

if TYPE_CHECKING:
    from service.database.database import Database
    from service.keys.store import KeyStore

logger = logging.getLogger(__name__)

REFRESH_S = 1.0
START_WAIT_S = 3.0  # the service starts, closed, if the store has not been read by then
BACKOFF = Backoff(first_s=1.0, longest_s=5.0, jitter=False)
NO_SUCH = "There is no API key with this id"


def keys_file(data_dir: str) -> Path:
    return Path(data_dir, "keys", "keys.db")


class Keys:
    """`url` is that of a PostgreSQL; without it, the keys are in SQLite at `path`."""

    def __init__(self, path: Path, url: str | None) -> None:
        self._path = path
        self._url = url
        self.ring = KeyRing(is_empty=not self._may_exist())
        self._revision: int | None = None
        self._lock = asyncio.Lock()
        self._attempted = asyncio.Event()
        self._store: KeyStore | None = None
        self._database: Database | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Keys]:
        """Follow the store until the block ends."""
        following = asyncio.create_task(self._follow())
        try:
            yield self
        finally:
            following.cancel()
            await asyncio.wait({following})
            if self._database:
                await self._database.close()

    async def wait_until_read(self) -> None:
        """Wait for the first attempt to read the store, for a short time."""
        await wait_until_set(self._attempted, START_WAIT_S)

    async def create(self, rights: KeyRights, by: Grant) -> tuple[ApiKey, str]:
        """Create a key; returns it with its text, which is not kept."""
        rights.check_covered_by(by)
        store = await self._open()
        key, text = create(rights, datetime.now(UTC))
        await store.add(key)
        await self._refresh_now()
        return key, text

    async def list(self, by: Grant) -> list[ApiKey]:
        """The keys that the holder of the grant could create, newest first."""
        if not self._may_exist():
            return []
        keys = (await (await self._open()).read()).keys
        return [key for key in keys if key.rights.is_covered_by(by)]

    async def get(self, id: str, by: Grant) -> ApiKey:
        """A key that the holder of the grant could create, or `NotFound`."""
        key = None
        if KEY_ID.fullmatch(id) and self._may_exist():
            key = await (await self._open()).get(id)
        if key is None or not key.rights.is_covered_by(by):
            raise NotFound(NO_SUCH)
        return key

    async def revoke(self, id: str, by: Grant) -> ApiKey:
        """Revoke a key; this process refuses it from now on."""
        await self.get(id, by)
        revoked = await (await self._open()).revoke(id)
        await self._refresh_now()
        if revoked is None:
            raise NotFound(NO_SUCH)
        return revoked

    async def rotate(self, id: str, grace: timedelta, by: Grant) -> tuple[ApiKey, str]:
        """Replace the secret of a key; the one before it is valid for as long as `grace`."""
        await self.get(id, by)
        text = new_key(id)
        until = datetime.now(UTC) + grace
        rotated = await (await self._open()).rotate(id, digest_of(text), until)
        await self._refresh_now()
        if rotated is None or rotated.revoked_at is not None:
            raise NotFound(NO_SUCH)
        return rotated, text

    def _may_exist(self) -> bool:
        return self._url is not None or self._path.exists()

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                await self._refresh()
                failures = 0
            except KeysUnavailable:
                failures += 1  # it was logged
            except Exception:
                failures += 1
                logger.exception("can't read the API keys")
            self._attempted.set()
            await asyncio.sleep(BACKOFF.pause_s(failures) if failures else REFRESH_S)

    async def _refresh_now(self) -> None:
        """After a change by this process, which the next refresh would see, too."""
        with contextlib.suppress(KeysUnavailable):
            await self._refresh()

    async def _refresh(self) -> None:
        """Bring the ring up to date."""
        if not self._may_exist():
            if self.ring.has_keys:  # somebody deleted the file: stay closed
                raise KeysUnavailable("The file of the API keys is missing")
            return
        store = await self._open()
        async with self._lock:
            if self._revision is not None and self._revision == await store.revision():
                self.ring.confirm()
                return
            stored = await store.read()
            credentials = {key.id: key.credentials() for key in stored.keys}
            self.ring.replace(credentials, has_keys=stored.revision > 0)
            self._revision = stored.revision

    async def _open(self) -> KeyStore:
        async with self._lock:
            if self._store is None:
                await load("service.keys.opening")
                from service.keys.opening import open_store  # noqa: PLC0415

                self._store, self._database = await open_store(self._url, self._path)
            return self._store
