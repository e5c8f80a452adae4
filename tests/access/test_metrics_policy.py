"""Who may read the metrics: a table of settings and callers."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from service.access.metrics_policy import MetricsPolicy
from service.access.policy import Caller
from service.errors import KeyMissing, KeyRejected, MetricsClosed, RequestError

KEY = "a-key-of-prometheus"
OTHER_KEY = "a-key-of-the-service"
NETWORKS = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def caller(
    address: str | None = "127.0.0.1", host: str = "127.0.0.1:8000", *, is_forwarded: bool = False
) -> Caller:
    return Caller(address, host, origin=None, scheme="http", is_forwarded=is_forwarded)


LOCAL = caller()
LOCAL_IPV6 = caller("::1", "[::1]:8000")
LISTED = caller("10.1.2.3", "search.example.org")
LISTED_IPV6 = caller("fd00::7", "search.example.org")
LISTED_MAPPED = caller("::ffff:10.1.2.3", "search.example.org")
STRANGER = caller("203.0.113.9", "search.example.org")
REBOUND = caller("127.0.0.1", "attacker.example")
BEHIND_PROXY = caller("127.0.0.1", is_forwarded=True)
LISTED_PROXY = caller("10.0.0.1", "search.example.org", is_forwarded=True)
FOREIGN_PAGE = Caller("127.0.0.1", "127.0.0.1", "https://evil.example", "http", False)
PAGE_OF_A_LISTED_BROWSER = Caller(
    "10.1.2.3", "search.example.org", "https://evil.example", "http", False
)
UNIX_SOCKET = caller(None)


@pytest.mark.parametrize(
    ("keys", "networks", "proxies", "who", "sent", "expected"),
    [
        # Without settings, only callers on the same machine.
        ([], [], 0, LOCAL, [], None),
        ([], [], 0, LOCAL_IPV6, [], None),
        ([], [], 0, LOCAL, [OTHER_KEY], None),
        ([], [], 0, STRANGER, [], MetricsClosed),
        ([], [], 0, STRANGER, [OTHER_KEY], MetricsClosed),
        ([], [], 0, REBOUND, [], MetricsClosed),
        ([], [], 0, FOREIGN_PAGE, [], MetricsClosed),
        ([], [], 0, BEHIND_PROXY, [], MetricsClosed),
        ([], [], 1, BEHIND_PROXY, [], MetricsClosed),
        ([], [], 0, UNIX_SOCKET, [], MetricsClosed),
        # With a key, everybody who has it, and nobody else.
        ([KEY], [], 0, STRANGER, [KEY], None),
        ([KEY], [], 0, STRANGER, [OTHER_KEY, KEY], None),
        ([KEY, OTHER_KEY], [], 0, STRANGER, [OTHER_KEY], None),
        ([KEY], [], 0, STRANGER, [], KeyMissing),
        ([KEY], [], 0, STRANGER, [OTHER_KEY], KeyRejected),
        ([KEY], [], 0, LOCAL, [], KeyMissing),
        # With a list, those in it, and the same machine.
        ([], NETWORKS, 0, LISTED, [], None),
        ([], NETWORKS, 0, LISTED_IPV6, [], None),
        ([], NETWORKS, 0, LISTED_MAPPED, [], None),
        ([], NETWORKS, 0, LOCAL, [], None),
        ([], NETWORKS, 0, STRANGER, [], MetricsClosed),
        ([], NETWORKS, 0, PAGE_OF_A_LISTED_BROWSER, [], MetricsClosed),
        ([], NETWORKS, 0, FOREIGN_PAGE, [], MetricsClosed),
        ([], NETWORKS, 0, LISTED_PROXY, [], MetricsClosed),
        ([], NETWORKS, 1, LISTED_PROXY, [], None),  # the address is that of the client
        ([], NETWORKS, 0, UNIX_SOCKET, [], MetricsClosed),
        # With both, those in the list who have the key.
        ([KEY], NETWORKS, 0, LISTED, [KEY], None),
        ([KEY], NETWORKS, 0, LISTED, [], KeyMissing),
        ([KEY], NETWORKS, 0, STRANGER, [KEY], MetricsClosed),
        ([KEY], NETWORKS, 0, LOCAL, [KEY], None),
    ],
)
def test_metrics_policy_accepts_and_refuses(
    keys: list[str],
    networks: list[object],
    proxies: int,
    who: Caller,
    sent: list[str],
    expected: type[RequestError] | None,
) -> None:
    policy = MetricsPolicy(keys, networks, (), proxies)  # type: ignore[arg-type]
    if expected is None:
        policy.authorize(who, sent)
    else:
        with pytest.raises(expected):
            policy.authorize(who, sent)


def test_metrics_policy_accepts_own_host_name_on_the_same_machine() -> None:
    policy = MetricsPolicy([], [], {"search.example.org"}, 0)
    policy.authorize(caller(host="Search.example.org:8000"), [])


@pytest.mark.parametrize(
    ("who", "sent", "sentence"),
    [
        (STRANGER, [KEY], "METRICS_ALLOWED_IPS lists those that may read them, or METRICS_KEY"),
        (LISTED, [], "need METRICS_KEY; send it as `Authorization"),
        (LISTED, [OTHER_KEY], "is not METRICS_KEY"),
    ],
)
def test_metrics_policy_says_what_is_needed(who: Caller, sent: list[str], sentence: str) -> None:
    policy = MetricsPolicy([KEY], NETWORKS, (), 0)
    with pytest.raises(RequestError, match=sentence):
        policy.authorize(who, sent)
