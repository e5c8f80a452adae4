"""Which web pages may read and open WebSockets: a table of settings, host names and origins."""

from __future__ import annotations

import pytest

from service.access.policy import AccessPolicy, Caller, host_name
from service.errors import OriginRefused

KEYS, NO_KEYS = ["a-key-of-24-characters-1"], list[str]()
SHOP, EVIL = "https://shop.example", "https://evil.example"


def caller(host: str, origin: str | None = None) -> Caller:
    return Caller("127.0.0.1", host, origin, "http", is_forwarded=False)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("localhost:8000", "localhost"),
        ("a.example:1:2", "a.example"),
        ("[::1]", "[::1]"),
        ("[::1]:8000", "[::1]"),
        ("[a]b]:80", "[a]"),
        ("", ""),
    ],
)
def test_host_name_is_host_without_port(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("keys", "listens_on", "proxies", "hosts", "checks"),
    [
        (NO_KEYS, "127.0.0.1", 0, [], True),
        (NO_KEYS, "127.0.0.1", 1, [], False),
        (NO_KEYS, "0.0.0.0", 0, [], False),
        (KEYS, "127.0.0.1", 0, [], False),
        (KEYS, "127.0.0.1", 0, ["a.example"], True),
        (NO_KEYS, "0.0.0.0", 1, ["a.example"], True),
    ],
)
def test_policy_checks_hosts_if_names_or_only_the_address_protect_it(
    keys: list[str], listens_on: str, proxies: int, hosts: list[str], checks: bool
) -> None:
    policy = AccessPolicy(keys, listens_on, proxies, hosts=hosts)
    assert policy.checks_reads is checks
    stranger = caller("search.example")
    for check in (policy.authorize_read, policy.check_websocket_origin):
        if checks:
            with pytest.raises(OriginRefused, match=r"host name.*ALLOWED_HOSTS"):
                check(stranger)
        else:
            check(stranger)
        check(caller("127.0.0.1:8000"))


@pytest.mark.parametrize("host", ["A.example", "a.EXAMPLE:8000", "localhost:1", "[::1]:1"])
def test_policy_accepts_its_own_host_names(host: str) -> None:
    policy = AccessPolicy(NO_KEYS, "127.0.0.1", 0, hosts=["a.example"])
    policy.authorize_read(caller(host))
    policy.authorize_write(caller(host))
    policy.check_websocket_origin(caller(host))


@pytest.mark.parametrize(
    ("keys", "listens_on", "origins", "origin", "may_read", "may_connect"),
    [
        (NO_KEYS, "127.0.0.1", [], None, True, True),
        (NO_KEYS, "127.0.0.1", [], "http://localhost:8000", True, True),
        (NO_KEYS, "127.0.0.1", [], "https://localhost:8000", False, False),
        (NO_KEYS, "127.0.0.1", [], EVIL, False, False),
        (NO_KEYS, "127.0.0.1", [SHOP], SHOP, True, True),
        (NO_KEYS, "127.0.0.1", [SHOP], EVIL, False, False),
        (NO_KEYS, "127.0.0.1", ["*"], EVIL, False, False),
        (NO_KEYS, "0.0.0.0", [], EVIL, True, False),
        (NO_KEYS, "0.0.0.0", ["*"], EVIL, True, True),
        (KEYS, "127.0.0.1", [], EVIL, True, False),
        (KEYS, "127.0.0.1", [SHOP], SHOP, True, True),
        (KEYS, "127.0.0.1", ["*"], EVIL, True, True),
    ],
)
def test_policy_refuses_pages_of_other_origins(
    keys: list[str],
    listens_on: str,
    origins: list[str],
    origin: str | None,
    may_read: bool,
    may_connect: bool,
) -> None:
    policy = AccessPolicy(keys, listens_on, 0, origins)
    page = caller("localhost:8000", origin)
    if may_read:
        policy.authorize_read(page)
    else:
        with pytest.raises(OriginRefused, match="may not read, unless ALLOWED_ORIGINS names"):
            policy.authorize_read(page)
    if may_connect:
        policy.check_websocket_origin(page)
    else:
        with pytest.raises(OriginRefused, match="may not open WebSockets; ALLOWED_ORIGINS"):
            policy.check_websocket_origin(page)


def test_named_origin_may_not_write_without_keys() -> None:
    policy = AccessPolicy(NO_KEYS, "127.0.0.1", 0, [SHOP])
    with pytest.raises(OriginRefused, match="pages of other origins may not write"):
        policy.authorize_write(caller("localhost:8000", SHOP))
