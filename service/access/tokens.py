"""Tenant tokens: a backend signs one with its own key, and it opens less than the key does.

A token is a JSON Web Token (RFC 7519) in Meilisearch's shape, signed with HMAC-SHA256:

    {"apiKeyUid": "<id of the key>", "searchRules": {"shop": {"filter": {…}}}, "exp": 1900000000}

Only this algorithm is accepted, whatever the token's header says (RFC 8725, section 3.1).
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from pydantic_core import from_json

from service.access.credentials import Clock, Credential, wall_clock
from service.access.grant import Grant
from service.access.rules import MAX_RULES, check_forced_filter, check_pattern
from service.access.scope import NamespaceRule, Scope
from service.errors import KeyRejected

ALGORITHM = "HS256"
MAX_LENGTH = 16_384
MAX_LIFETIME_S = 366 * 86_400
LEEWAY_S = 5.0  # for clocks that differ
REMEMBERED, MAX_REMEMBERED_LENGTH = 1_024, 4_096
PARTS = 3
TENANT_LENGTH = 32

INVALID = "The tenant token is not valid for this service"
EXPIRED = "The tenant token has expired"
RULES = "searchRules of the tenant token"
SHORT_KEY = "Tenant tokens need a key of at least 32 characters"

Find = Callable[[str], Sequence[Credential]]


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a signature was found to be right for."""

    credential: Credential
    grant: Grant


class TokenVerifier:
    """`find` returns the credentials of a key, by its id.

    Verified tokens are remembered. Each time, their key and both expiries are checked.
    """

    def __init__(self, find: Find, now: Clock = wall_clock) -> None:
        self._find = find
        self._now = now
        self._verified: dict[str, VerifiedToken] = {}

    def authenticate(self, token: str) -> Grant:
        """The grant of a token, or `KeyRejected`."""
        verified = self._verified.get(token)
        if verified is None or verified.credential not in self._find(
            verified.credential.grant.key_id
        ):
            verified = self._verify(token)
            self._remember(token, verified)
        verified.credential.check_expiry(self._now())
        if verified.grant.expires_at is not None and verified.grant.expires_at <= self._now():
            raise KeyRejected(EXPIRED)
        return verified.grant

    def _verify(self, token: str) -> VerifiedToken:
        if len(token) > MAX_LENGTH:
            raise KeyRejected(f"A tenant token has at most {MAX_LENGTH:,} characters")
        claims = _unverified_claims(token)
        id = claims.get("apiKeyUid")
        credentials = self._find(id) if isinstance(id, str) else ()
        for credential in credentials:
            if credential.token_secret is None:
                raise KeyRejected(SHORT_KEY)
            if _is_signed_with(token, credential.token_secret):
                return VerifiedToken(credential, self._grant(credential.grant, claims))
        raise KeyRejected(INVALID)

    def _grant(self, key: Grant, claims: Mapping[str, Any]) -> Grant:
        """What both the key and the token allow."""
        expires_at = self._expiry(claims)
        if key.expires_at is not None:
            expires_at = min(expires_at, key.expires_at)
        rules = _rules(claims.get("searchRules"))
        return replace(
            key,
            tenant=_tenant(key, rules),
            actions=key.actions - {"keys"},
            scopes=(*key.scopes, Scope(rules)),
            expires_at=expires_at,
        )

    def _expiry(self, claims: Mapping[str, Any]) -> float:
        now = self._now()
        expires_at: Any = claims.get("exp")
        begins_at: Any = claims.get("nbf", now)
        if not _is_number(expires_at) or not _is_number(begins_at):
            raise KeyRejected("A tenant token needs its expiry as `exp`, in seconds since 1970")
        if expires_at <= now - LEEWAY_S:
            raise KeyRejected(EXPIRED)
        if expires_at > now + MAX_LIFETIME_S:
            raise KeyRejected("A tenant token expires at most 366 days from now")
        if begins_at > now + LEEWAY_S:
            raise KeyRejected("The tenant token is not valid yet")
        return float(expires_at) + LEEWAY_S

    def _remember(self, token: str, verified: VerifiedToken) -> None:
        if len(token) > MAX_REMEMBERED_LENGTH:
            return
        if len(self._verified) >= REMEMBERED:
            del self._verified[next(iter(self._verified))]  # the oldest
        self._verified[token] = verified


async def prepare() -> None:
    """Import PyJWT in a thread: with `cryptography` installed, it takes a quarter of a second."""
    await asyncio.to_thread(importlib.import_module, "jwt")


def looks_like_token(text: str) -> bool:
    return text.count(".") == PARTS - 1


def _unverified_claims(token: str) -> Mapping[str, Any]:
    """The claims, by which the key is found. Only its signature makes them true."""
    claims = _decode(token, None)
    if claims is None:
        raise KeyRejected(INVALID)
    return claims


def _is_signed_with(token: str, secret: bytes) -> bool:
    return _decode(token, secret) is not None


def _decode(token: str, secret: bytes | None) -> Mapping[str, Any] | None:
    """The claims of a token; without a secret they are not verified. None if it is wrong."""
    import jwt  # noqa: PLC0415 - `prepare` has imported it, unless the first key is new

    # Claims of time are checked where the error can say what is wrong.
    options: Any = {"verify_signature": secret is not None} | dict.fromkeys(
        ("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_sub", "verify_jti"), False
    )
    try:
        claims: Any = jwt.decode(token, secret or b"", [ALGORITHM], options=options)
        # PyJWT takes NaN and lone surrogates, which no other JSON of a request may have.
        from_json(json.dumps(claims), allow_inf_nan=False)
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _rules(rules: Any) -> tuple[NamespaceRule, ...]:
    """One rule for each namespace. Anything that is not understood is refused."""
    if isinstance(rules, list):
        rules = dict.fromkeys(rules) if all(isinstance(each, str) for each in rules) else None
    if not isinstance(rules, dict) or not 1 <= len(rules) <= MAX_RULES:
        raise KeyRejected(
            f"searchRules of a tenant token must be a list of 1 to {MAX_RULES} namespaces, or an "
            "object of them"
        )
    return tuple(_rule(pattern, rule) for pattern, rule in rules.items())


def _rule(pattern: str, rule: Any) -> NamespaceRule:
    rule = {} if rule is None else rule
    if not isinstance(rule, dict) or rule.keys() - {"filter"}:
        raise KeyRejected(f'{RULES}: each is null or {{"filter": {{…}}}}')
    try:
        check_pattern(pattern)
        filter = check_forced_filter(rule["filter"]) if "filter" in rule else None
    except ValueError as exc:
        raise KeyRejected(f"{RULES}: {exc}") from None
    return NamespaceRule(pattern, filter)


def _tenant(key: Grant, rules: Sequence[NamespaceRule]) -> str:
    """Equal for tokens of one key with equal rules, which share cached answers."""
    by_pattern = {rule.pattern: rule.filter for rule in rules}
    canonical = json.dumps([key.tenant, by_pattern], sort_keys=True)
    return sha256(canonical.encode()).hexdigest()[:TENANT_LENGTH]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
