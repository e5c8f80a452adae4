"""Tenant tokens: of any bytes, and of any claims that a key has signed."""

from __future__ import annotations

import contextlib
import json
import time
from base64 import urlsafe_b64encode
from datetime import UTC, datetime

import jwt

from service.access.key_format import new_id
from service.access.key_ring import KeyRing
from service.access.policy import AccessPolicy
from service.errors import KeyRejected
from service.keys.key import create
from service.keys.rights import KeyRights

KEY, TEXT = create(KeyRights(name="x", actions=["search", "keys"]), datetime.now(UTC))
RING = KeyRing(clock=lambda: 0.0)  # it never gets too old
RING.replace({KEY.id: KEY.credentials()}, has_keys=True)
POLICY = AccessPolicy((), "127.0.0.1", 0, ring=RING)
NAMESPACES = ("", "a", "shop-1", "__default__", new_id())


def any_token(data: bytes) -> None:
    """Nothing but the key is accepted."""
    text = data.decode(errors="surrogateescape")
    for sent in (text, f"csk_{text}", f"{TEXT}{text}", f"eyJhbGciOiJIUzI1NiJ9.{_encode(data)}.x"):
        with contextlib.suppress(KeyRejected):
            POLICY.authenticate([sent])
            assert sent == TEXT


def tenant_token(data: bytes) -> None:
    """A token that the key has signed, of any claims, opens a part of what the key does."""
    claims = [data]
    try:
        rules = json.loads(data)
        claims.append(
            json.dumps(
                {"apiKeyUid": KEY.id, "searchRules": rules, "exp": time.time() + 60}
            ).encode()
        )
    except (ValueError, RecursionError):
        pass
    for each in claims:
        token = jwt.api_jws.encode(each, TEXT, "HS256")
        try:
            grant = POLICY.authenticate([token])
        except KeyRejected:
            continue
        assert grant.actions == {"search"}
        assert grant.is_scoped
        assert len(grant.tenant) <= 64  # the column `owner` of imports
        for namespace in NAMESPACES:
            if grant.allows_namespace(namespace):
                json.dumps(grant.filter(namespace), allow_nan=False)


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
