"""The key store, opened by a command, which has all rights.

Changes are recorded in the file of the audit log, if there is one; a change that can't be is not
made.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson

from service.access.grant import UNRESTRICTED
from service.audit import AuditLog
from service.errors import RequestError
from service.keys.key import as_json
from service.keys.keys import Keys
from service.keys.rights import KeyRights
from service.web.validation import validate


class LocalKeys:
    def __init__(self, keys: Keys, audit: AuditLog | None) -> None:
        self._keys = keys
        self._audit = audit

    async def create(self, rights: Mapping[str, Any]) -> dict[str, Any]:
        checked = validate(KeyRights, orjson.dumps(rights))
        with self._audited("keys.create") as details:
            key, text = await self._keys.create(checked, UNRESTRICTED)
            details |= {"created_key_id": key.id, "created_key_name": checked.name}
            details["actions"] = checked.actions
        return as_json(key, text)

    async def list(self) -> Sequence[dict[str, Any]]:
        return [as_json(key) for key in await self._keys.list(UNRESTRICTED)]

    async def revoke(self, id: str) -> dict[str, Any]:
        with self._audited("keys.revoke") as details:
            details["revoked_key_id"] = id
            return as_json(await self._keys.revoke(id, UNRESTRICTED))

    async def rotate(self, id: str, grace_s: int) -> dict[str, Any]:
        with self._audited("keys.rotate") as details:
            details["rotated_key_id"] = id
            key, text = await self._keys.rotate(id, timedelta(seconds=grace_s), UNRESTRICTED)
            return as_json(key, text)

    @contextlib.contextmanager
    def _audited(self, action: str) -> Iterator[dict[str, Any]]:
        """Record a change that is made in the block, with the details that it fills in."""
        details: dict[str, Any] = {"via": "command", "uid": os.getuid()}
        if self._audit is None:
            yield details
            return
        with self._audit.opened():
            try:
                yield details
            except RequestError as exc:
                self._audit.record(action, "failed", code=exc.code, **details)
                raise
            self._audit.record(action, "success", **details)
