"""`ApiKey`: a key as it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service.access.credentials import Credential
from service.access.key_format import digest_of, new_id, new_key
from service.keys.rights import KeyRights


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`digest` is the SHA-256 of the key. After a rotation, the key before it with
    `previous_digest` is valid until `previous_until`.
    """

    id: str
    rights: KeyRights
    digest: bytes = field(repr=False)
    created_at: datetime
    previous_digest: bytes | None = field(default=None, repr=False)
    previous_until: datetime | None = None
    rotated_at: datetime | None = None
    revoked_at: datetime | None = None

    def credentials(self) -> Sequence[Credential]:
        """What authenticates its holder: nothing once it is revoked."""
        if self.revoked_at is not None:
            return ()
        valid = [_credential(self, self.digest, None)]
        if self.previous_digest is not None:
            valid.append(_credential(self, self.previous_digest, self.previous_until))
        return valid


def create(rights: KeyRights, now: datetime) -> tuple[ApiKey, str]:
    """A new key: what is stored of it, and its text, which is not."""
    id = new_id()
    text = new_key(id)
    return ApiKey(id, rights, digest_of(text), now), text


def as_json(key: ApiKey, text: str | None = None) -> dict[str, Any]:
    """The key as the API has it; with its text where that is shown, which is only once."""
    rights = key.rights.model_dump(mode="json")
    moments = {
        "created_at": key.created_at,
        "rotated_at": key.rotated_at,
        "previous_until": key.previous_until,
        "revoked_at": key.revoked_at,
    }
    shown = {} if text is None else {"key": text}
    times = {name: None if each is None else _iso(each) for name, each in moments.items()}
    return {"id": key.id, **shown, **rights, **times}


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _credential(key: ApiKey, digest: bytes, until: datetime | None) -> Credential:
    return Credential(digest, key.rights.grant(key.id, digest, until), digest)
