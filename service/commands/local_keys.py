"""The key store, opened by a command. Whoever can open it has all rights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson

from service.access.grant import UNRESTRICTED
from service.keys.key import as_json
from service.keys.keys import Keys
from service.keys.rights import KeyRights
from service.web.validation import validate


class LocalKeys:
    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def create(self, rights: Mapping[str, Any]) -> dict[str, Any]:
        checked = validate(KeyRights, orjson.dumps(rights))
        key, text = await self._keys.create(checked, UNRESTRICTED)
        return as_json(key, text)

    async def list(self) -> Sequence[dict[str, Any]]:
        return [as_json(key) for key in await self._keys.list(UNRESTRICTED)]

    async def revoke(self, id: str) -> dict[str, Any]:
        return as_json(await self._keys.revoke(id, UNRESTRICTED))

    async def rotate(self, id: str, grace_s: int) -> dict[str, Any]:
        key, text = await self._keys.rotate(id, timedelta(seconds=grace_s), UNRESTRICTED)
        return as_json(key, text)
