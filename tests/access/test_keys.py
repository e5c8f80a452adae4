"""Tests for API keys and access rules."""

from __future__ import annotations

import pytest

from service.access.credentials import ServiceKeys
from service.access.key_format import digest_of
from service.access.policy import AccessPolicy, Caller, is_loopback
from service.errors import KeyMissing, KeyRejected, OriginRefused, WritesClosed

KEY, OTHER = "a-key-of-24-characters-1", "a-key-of-24-characters-2"


def caller(
    address: str | None = "127.0.0.1",
    host: str = "127.0.0.1:8000",
    origin: str | None = None,
    *,
    forwarded: bool = False,
) -> Caller:
    return Caller(address, host, origin, "http", forwarded)


def test_keys_accept_exact_matches_only() -> None:
    keys = ServiceKeys([KEY, OTHER])
    assert keys
    assert keys.authenticate(KEY)
    assert keys.authenticate(OTHER)
    for wrong in ("", KEY[:-1], KEY + "x", KEY.upper(), f"{KEY},{OTHER}", "\ud800", "ü"):
        assert keys.authenticate(wrong) is None
    assert not ServiceKeys([])
    assert ServiceKeys([]).authenticate("") is None


def test_each_service_key_is_a_tenant_of_its_own() -> None:
    odd = KEY + "\udcff"  # a byte that is not UTF-8, in an environment variable
    grants = [ServiceKeys([KEY, OTHER, odd]).authenticate(each) for each in (KEY, OTHER, odd)]
    found = [each for each in grants if each is not None]
    assert [each.credential for each in found] == [digest_of(each) for each in (KEY, OTHER, odd)]
    assert len({each.tenant for each in found} - {"", None}) == 3
    assert [each.key_id for each in found] == [each.tenant for each in found]
    assert {each.is_scoped for each in found} == {False}


def test_policy_with_keys_requires_one_from_every_caller() -> None:
    policy = AccessPolicy([KEY], "127.0.0.1", 0)
    with pytest.raises(KeyMissing, match="Authorization: Bearer"):
        policy.authenticate([])
    with pytest.raises(KeyRejected) as rejected:
        policy.authenticate([OTHER])
    assert OTHER not in rejected.value.detail
    policy.authenticate([OTHER, KEY])
    policy.authorize_write(caller(address="203.0.113.9", host="example.org", origin="http://x"))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "Localhost"]
)
def test_is_loopback_accepts_local_hosts(host: str) -> None:
    assert is_loopback(host)
    AccessPolicy([], host, 0).authorize_write(caller(host="localhost:8000"))


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.nip.io"],
)
def test_is_loopback_rejects_other_hosts(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(WritesClosed, match="SERVICE_API_KEYS"):
        AccessPolicy([], host, 0).authorize_write(caller())


@pytest.mark.parametrize(
    ("who", "error"),
    [
        (caller(), None),
        (caller(address="::1", host="[::1]:8000"), None),
        (caller(address="::ffff:127.0.0.1"), None),
        (caller(host="localhost"), None),
        (caller(origin="http://127.0.0.1:8000"), None),
        (caller(address="192.168.1.7"), WritesClosed),
        (caller(address="::ffff:192.168.1.7"), WritesClosed),
        (caller(address=None), WritesClosed),
        (caller(address="<local>"), WritesClosed),
        (caller(forwarded=True), WritesClosed),
        (caller(host="rebound.example.org:8000"), OriginRefused),
        (caller(host="127.0.0.1.example.org"), OriginRefused),
        (caller(host=""), OriginRefused),
        (caller(origin="null"), OriginRefused),
        (caller(origin=""), OriginRefused),
        (caller(origin="https://example.org"), OriginRefused),
        (caller(origin="http://127.0.0.1:3000"), OriginRefused),
        (caller(origin="https://127.0.0.1:8000"), OriginRefused),
        (caller(origin="http://localhost:8000"), OriginRefused),
    ],
)
def test_policy_without_keys_authorizes_local_writes_only(
    who: Caller, error: type[Exception] | None
) -> None:
    policy = AccessPolicy([], "127.0.0.1", 0)
    policy.authenticate([])
    if error is None:
        policy.authorize_write(who)
    else:
        with pytest.raises(error):
            policy.authorize_write(who)


def test_policy_behind_proxy_rejects_keyless_writes() -> None:
    with pytest.raises(WritesClosed):
        AccessPolicy([], "127.0.0.1", 1).authorize_write(caller())
