"""Tenant tokens: what they open, and that anything else is refused."""

from __future__ import annotations

import hmac
import json
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.credentials import Credential, ServiceKeys
from service.access.grant import Grant
from service.access.key_format import digest_of, new_id, new_key
from service.access.key_ring import KeyRing
from service.access.policy import AccessPolicy
from service.access.rules import MAX_RULES
from service.access.scope import Scope
from service.access.tokens import (
    LEEWAY_S,
    MAX_LENGTH,
    MAX_LIFETIME_S,
    REMEMBERED,
    TokenVerifier,
    prepare,
)
from service.client import sign_tenant_token
from service.errors import Forbidden, KeyRejected, KeysUnavailable

NOW = 1_800_000_000.0
ID, OTHER_ID = new_id(), new_id()
KEY, OTHER = new_key(ID), new_key(OTHER_ID)
SERVICE_KEY, SHORT_KEY = "a-key-of-32-characters-as-needed", "a-key-of-24-characters-1"
MINE = {"tenant": {"$eq": "a"}}


def credential(key: str, id: str, **rights: Any) -> Credential:
    digest = digest_of(key)
    grant = Grant(tenant=f"key:{id}", key_id=id, credential=digest, **rights)
    return Credential(digest, grant, digest)


class Service:
    """A policy, its ring of keys, and the time."""

    def __init__(self) -> None:
        self.now = NOW
        self.age = 0.0
        self.ring = KeyRing(clock=lambda: self.age, now=lambda: self.now)
        self.policy = AccessPolicy(
            [SERVICE_KEY, SHORT_KEY], "127.0.0.1", 0, ring=self.ring, now=lambda: self.now
        )
        self.set(credential(KEY, ID), credential(OTHER, OTHER_ID))

    def set(self, *credentials: Credential) -> None:
        found = {each.grant.key_id: [each] for each in credentials}
        self.ring.replace(found, has_keys=True)

    def grant(self, token: str) -> Grant:
        return self.policy.authenticate([token])


@pytest.fixture
def service() -> Service:
    return Service()


def signed(claims: Any = None, key: str | bytes = KEY, **header: Any) -> str:
    """A token by PyJWT; `claims` replace the usual ones, and None leaves one out."""
    given = {"apiKeyUid": ID, "searchRules": ["*"], "exp": int(NOW) + 60} | (claims or {})
    present = {name: value for name, value in given.items() if value is not ...}
    return jwt.encode(present, key, header.pop("algorithm", "HS256"), headers=header or None)


@pytest.mark.parametrize(
    ("rules", "opened", "closed"),
    [
        (["shop"], {"shop": None}, ["shop-1", "other"]),
        (["shop-*", "b"], {"shop-1": None, "b": None}, ["shop"]),
        (["*"], {"any": None}, []),
        ({"shop": None, "b": {}}, {"shop": None, "b": None}, ["c"]),
        ({"shop": {"filter": MINE}}, {"shop": MINE}, ["other"]),
        ({"*": {"filter": MINE}, "b": None}, {"any": MINE, "b": None}, []),
    ],
)
def test_token_opens_what_its_rules_name(
    service: Service, rules: Any, opened: dict[str, Any], closed: list[str]
) -> None:
    for token in (signed({"searchRules": rules}), sign_tenant_token(KEY, rules, NOW + 60)):
        grant = service.grant(token)
        assert {each: grant.filter(each) for each in opened} == opened
        assert [each for each in closed if grant.allows_namespace(each)] == []
        assert (grant.key_id, grant.expires_at) == (ID, NOW + 60 + LEEWAY_S)
        service.policy.check_still_valid(grant)


def test_token_only_narrows_its_key(service: Service) -> None:
    scope = Scope(filter={"year": {"$gte": 2020}}, fields=frozenset({"title"}))
    actions: Any = frozenset({"search", "keys"})
    service.set(credential(KEY, ID, scopes=(scope,), actions=actions, expires_at=NOW + 30))
    grant = service.grant(signed({"searchRules": {"shop": {"filter": MINE}}}))
    assert grant.filter("shop") == {"$and": [scope.filter, MINE]}
    assert grant.fields == frozenset({"title"})
    assert grant.actions == {"search"}
    assert grant.expires_at == NOW + 30
    with pytest.raises(Forbidden):
        grant.require("keys")


def test_token_of_a_service_key_is_signed_with_the_key_itself(service: Service) -> None:
    grant = service.grant(sign_tenant_token(SERVICE_KEY, ["shop"], NOW + 60))
    assert grant.allows_namespace("shop")
    assert not grant.allows_namespace("other")
    assert "keys" not in grant.actions
    service.policy.check_still_valid(grant)


@pytest.mark.parametrize("length", [32, 63, 64, 65, 100])
def test_token_of_a_service_key_of_any_length_is_verified(length: int) -> None:
    """HMAC-SHA256 replaces a key of more than 64 bytes, and only such a one, by its digest."""
    key = "x" * length
    policy = AccessPolicy([key], "127.0.0.1", 0, now=lambda: NOW)
    assert policy.authenticate([sign_tenant_token(key, ["shop"], NOW + 60)]).key_id


def test_token_of_a_short_service_key_is_refused(service: Service) -> None:
    """Its key could be found by trying, from one token."""
    (found,) = ServiceKeys([SHORT_KEY])._by_id.values()
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        token = signed({"apiKeyUid": found.grant.key_id}, SHORT_KEY)
    with pytest.raises(KeyRejected, match="at least 32 characters"):
        service.grant(token)


def test_tenants_are_equal_for_equal_rules_of_one_key_only(service: Service) -> None:
    filter, same = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    tenants = [
        service.grant(token).tenant
        for token in (
            signed({"searchRules": {"x": {"filter": filter}, "y": None}}),
            signed({"searchRules": {"y": {}, "x": {"filter": same}}, "exp": int(NOW) + 90}),
            signed({"searchRules": {"x": {"filter": filter}}}),
            signed({"searchRules": {"x": {"filter": {"a": 1}}, "y": None}}),
            signed({"searchRules": ["x", "y"]}),
            signed(
                {"searchRules": {"x": {"filter": filter}, "y": None}, "apiKeyUid": OTHER_ID}, OTHER
            ),
            KEY,
            OTHER,
        )
    ]
    assert tenants[0] == tenants[1]
    assert len(set(tenants)) == len(tenants) - 1
    assert max(map(len, tenants)) <= 64  # the column `owner` of imports


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"exp": ...}, "expiry as `exp`"),
        ({"exp": None}, "expiry as `exp`"),
        ({"exp": True}, "expiry as `exp`"),
        ({"exp": "1800000060"}, "expiry as `exp`"),
        ({"exp": int(NOW - LEEWAY_S)}, "has expired"),
        ({"exp": -(10**400)}, "has expired"),
        ({"exp": 10**400}, "366 days"),
        ({"exp": int(NOW) + 367 * 86_400}, "366 days"),
        ({"exp": float("inf")}, "not valid"),
        ({"exp": float("nan")}, "not valid"),
        ({"nbf": int(NOW) + 60}, "not valid yet"),
        ({"nbf": "x"}, "expiry"),
        ({"apiKeyUid": ...}, "not valid"),
        ({"apiKeyUid": 7}, "not valid"),
        ({"apiKeyUid": OTHER_ID}, "not valid"),
        ({"apiKeyUid": "nobody"}, "not valid"),
        ({"searchRules": ...}, "a list of 1 to 100"),
        ({"searchRules": None}, "a list of 1 to 100"),
        ({"searchRules": "*"}, "a list of 1 to 100"),
        ({"searchRules": []}, "a list of 1 to 100"),
        ({"searchRules": {}}, "a list of 1 to 100"),
        ({"searchRules": [7]}, "a list of 1 to 100"),
        ({"searchRules": [["*"]]}, "a list of 1 to 100"),
        ({"searchRules": [f"n{each}" for each in range(101)]}, "a list of 1 to 100"),
        ({"searchRules": ["a/b"]}, "1 to 512 characters"),
        ({"searchRules": ["a*b"]}, "at its end"),
        ({"searchRules": {"a": "x"}}, "null or"),
        ({"searchRules": {"a": {"filters": MINE}}}, "null or"),
        ({"searchRules": {"a": {"filter": None}}}, "JSON object"),
        ({"searchRules": {"a": {"filter": "tenant = a"}}}, "JSON object"),
        ({"apiKeyUid": [ID]}, "not valid"),
        ({"searchRules": {"a": {"filter": {}}}}, "no condition"),
        ({"searchRules": {"a": {"filter": {"t": {"$match_any": "x"}}}}}, "not allowed in"),
        ({"searchRules": {"a": {"filter": {"t": {"$eq": "\ud800"}}}}}, "not valid"),
        ({"searchRules": ["*"], "x": "y" * MAX_LENGTH}, "at most 16,384"),
    ],
)
def test_token_that_is_wrong_is_refused(service: Service, claims: Any, sentence: str) -> None:
    with pytest.raises(KeyRejected) as error:
        service.grant(signed(claims))
    assert sentence in error.value.detail
    assert error.value.status == 401


@pytest.mark.parametrize(
    ("name", "limit", "step"),
    [
        ("exp", NOW - LEEWAY_S, -1),
        ("exp", NOW + MAX_LIFETIME_S, 1),
        ("nbf", NOW + LEEWAY_S, 1),
    ],
)
def test_times_of_a_token_have_limits(service: Service, name: str, limit: float, step: int) -> None:
    """The last time that is accepted is the limit, or just before it for an expiry."""
    last = limit if step > 0 else limit + 1
    assert service.grant(signed({name: int(last)})).key_id == ID
    with pytest.raises(KeyRejected):
        service.grant(signed({name: int(last) + step}))


def test_other_claims_of_a_token_mean_nothing(service: Service) -> None:
    others = {"iat": NOW * 2, "aud": "another service", "sub": 5, "jti": 6, "iss": ["x"]}
    assert service.grant(_sign(others)).key_id == ID


def _sign(others: dict[str, Any]) -> str:
    """A token with claims that PyJWT would not sign."""
    claims = {"apiKeyUid": ID, "searchRules": ["*"], "exp": int(NOW) + 60} | others
    body = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims)}"
    signature = hmac.digest(KEY.encode(), body.encode(), "sha256")
    return f"{body}.{urlsafe_b64encode(signature).decode().rstrip('=')}"


def test_token_may_have_a_hundred_rules(service: Service) -> None:
    names = [f"n{number}" for number in range(MAX_RULES + 1)]
    assert service.grant(signed({"searchRules": names[1:]})).allows_namespace("n100")
    with pytest.raises(KeyRejected, match="1 to 100 namespaces"):
        service.grant(signed({"searchRules": names}))


def test_token_signed_otherwise_is_refused(service: Service) -> None:
    good = signed()
    head, claims, signature = good.split(".")
    service.grant(good)
    later = {"apiKeyUid": ID, "searchRules": ["*"], "exp": int(NOW) + 61}
    tokens = [
        signed(key=OTHER),
        signed(key=KEY[:-1]),
        signed(key=digest_of(KEY).hex()),
        signed(algorithm="HS512"),
        signed(algorithm="HS384"),
        jwt.encode(later, "", "none"),
        f"{encoded({'alg': 'none'})}.{claims}.",
        f"{encoded({'alg': 'none'})}.{claims}.{signature}",
        f"{encoded({'alg': ['HS256']})}.{claims}.{signature}",
        f"{encoded({'alg': 'HS256', 'crit': ['x']})}.{claims}.{signature}",
        f"{head}.{encoded(later)}.{signature}",
        f"{head}.{claims}.",
        f"{head}.{claims}.{signature[:-2]}",
        f"{head}.{claims}",
        f"{good}.{signature}",
        "..",
        f"{head}.{encoded([1])}.{signature}",
        f"{head}.{urlsafe_b64encode(b'[' * 9_000).decode().rstrip('=')}.{signature}",
    ]
    for token in tokens:
        with pytest.raises(KeyRejected) as error:
            service.grant(token)
        assert "not valid" in error.value.detail


def encoded(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_verified_token_ends_with_its_expiry_and_with_its_key(service: Service) -> None:
    token = signed()
    grant = service.grant(token)
    assert service.grant(token) is grant  # remembered
    service.now += 60 + LEEWAY_S
    for refused in (lambda: service.grant(token), lambda: service.policy.check_still_valid(grant)):
        with pytest.raises(KeyRejected, match="expired"):
            refused()
    service.now = NOW
    assert service.grant(token) is grant
    service.set(credential(new_key(ID), ID))  # rotated
    for refused in (lambda: service.grant(token), lambda: service.policy.check_still_valid(grant)):
        with pytest.raises(KeyRejected):
            refused()
    service.set(credential(KEY, ID, expires_at=NOW + 1))
    assert service.grant(token).expires_at == NOW + 1
    service.now += 1
    with pytest.raises(KeyRejected, match="The API key has expired"):
        service.grant(token)
    service.now, service.age = NOW, 31.0
    with pytest.raises(KeysUnavailable):
        service.grant(token)


def test_number_of_remembered_tokens_is_bounded(service: Service) -> None:
    found = [credential(KEY, ID)]
    verifier = TokenVerifier(lambda _: found, lambda: NOW)
    for number in range(REMEMBERED + 10):
        verifier.authenticate(signed({"jti": str(number)}))
    assert len(verifier._verified) == REMEMBERED
    verifier.authenticate(signed({"x": "y" * 5_000}))
    assert len(verifier._verified) == REMEMBERED


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(rules=VALUES, expires_at=VALUES | st.just(NOW + 60), begins_at=VALUES)
def test_signed_token_of_any_claims_is_granted_or_refused(
    rules: Any, expires_at: Any, begins_at: Any
) -> None:
    """A backend may sign anything. What is granted is within the key."""
    claims = {"apiKeyUid": ID, "searchRules": rules, "exp": expires_at, "nbf": begins_at}
    try:
        token = jwt.api_jws.encode(json.dumps(claims).encode(), KEY, "HS256")
        grant = Service().grant(token)
    except KeyRejected:
        return
    assert len(grant.scopes) == 1
    assert grant.key_id == ID


@given(st.text() | st.lists(st.binary(max_size=60), min_size=3, max_size=3))
def test_text_that_is_no_token_is_refused(garbage: str | list[bytes]) -> None:
    text = (
        garbage
        if isinstance(garbage, str)
        else ".".join(urlsafe_b64encode(each).decode() for each in garbage)
    )
    for sent in (text, f"{text}.{text}.{text}", f"eyJ.{text}.x"):
        with pytest.raises(KeyRejected) as error:
            Service().grant(sent)
        assert KEY not in error.value.detail


@given(st.data())
def test_token_that_was_changed_is_refused(data: st.DataObject) -> None:
    token = sign_tenant_token(KEY, ["shop"], NOW + 60)
    position = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    changed = token[:position] + other + token[position + 1 :]
    if _decoded(changed) == _decoded(token):
        return
    with pytest.raises(KeyRejected):
        Service().grant(changed)


def _decoded(token: str) -> Any:
    """The last character of a part has bits that no decoder looks at."""
    try:
        return [urlsafe_b64decode(part + "==") for part in token.split(".")]
    except ValueError:
        return None


async def test_prepare_imports_pyjwt() -> None:
    await prepare()
    assert "jwt" in sys.modules
