"""The schemas of /api/keys: they validate, and they document."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from service.access.grant import Action
from service.keys.rights import DailyQuota, KeyRights
from service.web.validation import StrictModel

MAX_GRACE_S = 90 * 86_400


class NewKey(KeyRights):
    """The rights of a new key: at most those of the key that creates it."""


class KeyInfo(BaseModel):
    """A key, without its secret."""

    id: str = Field(description="The id: part of the key, and no secret.")
    name: str
    actions: list[Action]
    namespaces: list[str] | None = Field(description="Null for all namespaces.")
    filter: dict[str, Any] | None
    fields: list[str] | None = Field(description="Null for all fields.")
    rate: str | None
    quota: DailyQuota | None
    expires_at: datetime | None
    created_at: datetime
    rotated_at: datetime | None = Field(description="When it was rotated the last time.")
    previous_until: datetime | None = Field(
        description="Until when the secret before the last rotation is valid."
    )
    revoked_at: datetime | None = Field(description="When it was revoked.")


class KeyWithSecret(KeyInfo):
    """A key with its secret, which is shown only now: the service keeps no copy."""

    key: str = Field(description="The key, as clients send it.")


class KeyList(BaseModel):
    """The keys, newest first. Revoked ones are listed for 30 days."""

    keys: list[KeyInfo]


class RotateParameters(StrictModel):
    grace_s: int = Field(
        0,
        ge=0,
        le=MAX_GRACE_S,
        description="For how many seconds the present secret stays valid. Defaults to 0.",
    )
