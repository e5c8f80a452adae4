"""Tenant tokens: a backend signs one for each of its users, without asking the service."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from service.client.call import encode_json
from service.client.errors import InvalidArgument

MIN_KEY_LENGTH = 32
MANAGED_KEY = re.compile(r"csk_([a-z2-7]{16})_[0-9A-Za-z]+")
FINGERPRINT_LENGTH = 16

SearchRules = Sequence[str] | Mapping[str, Mapping[str, Any] | None]


def sign_tenant_token(key: str, rules: SearchRules, expires_at: datetime | float) -> str:
    """A token that opens only what `rules` name, and no more than `key` does.

    `rules` is a list of namespaces, or has for each None or `{"filter": {…}}`: only records that
    match then exist for the holder. `prefix*` stands for all namespaces that begin so. `expires_at`
    is a moment with a time zone, or in seconds since 1970.

    It is a JSON Web Token (RFC 7519), so any JWT library can sign one, too.
    """
    if len(key) < MIN_KEY_LENGTH:
        raise InvalidArgument(f"tenant tokens need a key of at least {MIN_KEY_LENGTH} characters")
    if isinstance(rules, str) or not rules:
        raise InvalidArgument("rules must name at least one namespace")
    claims = {
        "apiKeyUid": _id_of(key),
        "searchRules": dict(rules) if isinstance(rules, Mapping) else list(rules),
        "exp": _seconds(expires_at),
    }
    parts = [_encode(encode_json(each)) for each in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = ".".join(parts)
    return f"{signed}.{_encode(hmac.digest(key.encode(), signed.encode(), 'sha256'))}"


def _id_of(key: str) -> str:
    """The id of a managed key; for one of SERVICE_API_KEYS, the start of its SHA-256."""
    match = MANAGED_KEY.fullmatch(key)
    return match[1] if match else sha256(key.encode()).hexdigest()[:FINGERPRINT_LENGTH]


def _seconds(moment: datetime | float) -> int:
    if not isinstance(moment, datetime):
        return int(moment)
    if moment.tzinfo is None:
        raise InvalidArgument("expires_at needs a time zone, such as datetime.now(UTC) has")
    return int(moment.timestamp())


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
