"""Which limits the settings choose."""

from __future__ import annotations

from typing import Any

import pytest

from service.access.grant import UNRESTRICTED, Grant
from service.access.limiting import choose_limits
from service.access.limiting.account import UNLIMITED, Account
from service.access.limits import Rate
from service.errors import RateLimited, StartupFailed
from service.settings import load_settings
from tests.redis_server import redis_server

KEY = Grant(key_id="a")


def test_settings_without_rates_limit_nobody() -> None:
    limits = choose_limits(load_settings())
    assert limits.account(KEY, None, "search") is UNLIMITED
    assert limits.account(UNRESTRICTED, "192.0.2.1", "search") is UNLIMITED


def test_settings_choose_rates_of_keys_and_of_addresses() -> None:
    limits = choose_limits(load_settings(rate_limit="5/s burst=9", rate_limit_anonymous="1/d"))
    assert limits.account(KEY, None, "search").rate == Rate(5, 1, 9)
    assert limits.account(UNRESTRICTED, "192.0.2.1", "search").rate == Rate(1, 86_400)


async def refused_request(account: Account) -> int:
    """The number of the first request that is refused."""
    for number in range(1, 10):
        try:
            await account.take()
        except RateLimited:
            return number
    raise AssertionError("none was refused")


async def test_limits_are_shared_through_redis_by_services_of_one_scope() -> None:
    with redis_server() as redis:
        settings = load_settings(rate_limit="3/d", redis_url=redis.url)
        refused: dict[str, list[int]] = {}
        for scope in ("one", "one", "another"):
            limits = choose_limits(settings)
            await limits.open(scope)
            try:
                number = await refused_request(limits.account(KEY, None, "search"))
                refused.setdefault(scope, []).append(number)
            finally:
                await limits.close()
    assert refused == {"one": [4, 1], "another": [4]}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rate_limit": "5/w"}, "^RATE_LIMIT: a rate is .* such as 5/s"),
        ({"rate_limit_anonymous": "often"}, "^RATE_LIMIT_ANONYMOUS: a rate is"),
        ({"redis_url": "redis://localhost?colour=red"}, "^REDIS_URL has an unknown option"),
    ],
)
def test_wrong_limits_fail_the_start(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StartupFailed, match=sentence):
        choose_limits(load_settings(**settings))
