"""The tables of API keys, and the mapping between rows and keys. `migrations` has their history.

`key_changes` has one row. Its revision grows with each change, so that a process sees with one
small query whether it has to read the keys again. It is zero only if there has never been a key.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from service.database.columns import UtcDateTime
from service.database.database import Schema
from service.errors import KeysUnavailable
from service.keys.key import ApiKey
from service.keys.rights import KeyRights

logger = logging.getLogger(__name__)

API_KEYS = Schema(
    "API keys",
    Path(__file__).parent / "migrations" / "versions",
    "cascade_keys_version",
    KeysUnavailable,
)
METADATA = sa.MetaData()

api_keys = sa.Table(
    "api_keys",
    METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("rights", sa.Text),  # JSON in ASCII
    sa.Column("digest", sa.String(64)),
    sa.Column("previous_digest", sa.String(64)),
    sa.Column("previous_until", UtcDateTime),
    sa.Column("created_at", UtcDateTime),
    sa.Column("rotated_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
)
key_changes = sa.Table("key_changes", METADATA, sa.Column("revision", sa.BigInteger))


def row_of(key: ApiKey) -> dict[str, Any]:
    previous = key.previous_digest
    return {
        "id": key.id,
        "rights": json.dumps(key.rights.model_dump(mode="json", exclude_none=True)),
        "digest": key.digest.hex(),
        "previous_digest": None if previous is None else previous.hex(),
        "previous_until": key.previous_until,
        "created_at": key.created_at,
        "rotated_at": key.rotated_at,
        "revoked_at": key.revoked_at,
    }


def keys_of(rows: Iterable[sa.RowMapping]) -> list[ApiKey]:
    """The keys of rows. One that this version does not understand is left out, and logged."""
    keys = []
    for row in rows:
        rights = _rights_of(row)
        if rights is None:
            logger.error("the API key %s has rights that this version does not know", row["id"])
            continue
        previous = row["previous_digest"]
        key = ApiKey(
            row["id"],
            rights,
            bytes.fromhex(row["digest"]),
            row["created_at"],
            None if previous is None else bytes.fromhex(previous),
            row["previous_until"],
            row["rotated_at"],
            row["revoked_at"],
        )
        keys.append(key)
    return keys


def _rights_of(row: sa.RowMapping) -> KeyRights | None:
    try:
        return KeyRights.model_validate_json(row["rights"])
    except ValidationError:
        return None
