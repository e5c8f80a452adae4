"""Whose account a request is counted on, and what the caller is told."""

from __future__ import annotations

import time

import pytest

from service.access.grant import UNRESTRICTED, Action, Grant
from service.access.limiting.account import UNLIMITED, Account, Limits
from service.access.limiting.addresses import caller_of_address
from service.access.limiting.memory_store import MemoryLimitStore
from service.access.limits import Quota, Rate, Usage, parse_rate
from service.errors import QuotaExceeded, RateLimited

DAILY = Rate(2, 86_400)


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]:443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        (None, "unknown"),
        ("<local>", "unknown"),
        ("192.0.2.1, 192.0.2.2", "unknown"),
        ("1" * 10_000, "unknown"),
    ],
)
def test_caller_is_address_or_network(address: str | None, caller: str) -> None:
    assert caller_of_address(address) == caller


async def used_up(account: Account, tries: int = 10) -> int:
    """Take requests until one is refused; returns how many were allowed."""
    for number in range(tries):
        try:
            await account.take()
        except RateLimited:
            return number
    return tries


async def test_key_has_its_own_rate_or_else_the_default() -> None:
    limits = Limits(MemoryLimitStore(), rate=Rate(3, 86_400))
    assert await used_up(limits.account(Grant(key_id="a", rate=DAILY), None, "search")) == 2
    assert await used_up(limits.account(Grant(key_id="b"), None, "search")) == 3
    assert await used_up(limits.account(UNRESTRICTED, "192.0.2.1", "search")) == 10


async def test_tokens_of_a_key_count_together() -> None:
    limits = Limits(MemoryLimitStore(), rate=DAILY)
    await limits.account(Grant(key_id="a", tenant="x"), "192.0.2.1", "search").take()
    await limits.account(Grant(key_id="a", tenant="y"), "192.0.2.2", "stats").take()
    assert await used_up(limits.account(Grant(key_id="a"), None, "search")) == 0


async def test_callers_without_key_count_by_address() -> None:
    limits = Limits(MemoryLimitStore(), anonymous_rate=DAILY)
    assert await used_up(limits.account(UNRESTRICTED, "2001:db8::1", "search")) == 2
    assert await used_up(limits.account(UNRESTRICTED, "2001:db8::2", "search")) == 0
    assert await used_up(limits.account(UNRESTRICTED, "192.0.2.1", "search")) == 2
    assert await used_up(limits.account(Grant(key_id="a"), "192.0.2.1", "search")) == 10


async def test_refused_request_says_when_to_try_again() -> None:
    account = Limits(MemoryLimitStore(), rate=parse_rate("2/h burst=1")).account(
        Grant(key_id="a"), None, "search"
    )
    assert account.remaining == 0
    await account.take()
    assert account.remaining == 0
    with pytest.raises(RateLimited, match=r"2/h burst=1 is reached; try again in 1[78]") as raised:
        await account.take()
    assert raised.value.retry_after == pytest.approx(1800, abs=60)
    account.add(Usage(requests=-1))
    assert account.remaining == 1
    await account.take()


async def test_quota_applies_to_the_actions_that_use_it() -> None:
    limits = Limits(MemoryLimitStore())
    grant = Grant(key_id="a", quota=Quota(read_units=1, records=10, bytes=100))
    write = limits.account(grant, None, "records.write")
    await write.take(Usage(records=10))
    with pytest.raises(
        QuotaExceeded, match="10 records per day does not suffice: 10 are used"
    ) as e:
        await write.take()
    assert 0 < (e.value.retry_after or 0) <= 86_400
    actions: tuple[Action, ...] = ("imports", "export")
    for action in actions:
        with pytest.raises(QuotaExceeded):
            await limits.account(grant, None, action).take()
    search = limits.account(grant, None, "search")
    await search.take()
    search.add(Usage(read_units=5))
    with pytest.raises(QuotaExceeded, match="1 read units"):
        await search.take()
    actions = ("stats", "records.read", "keys")
    for action in actions:
        await limits.account(grant, None, action).take()


async def test_quota_without_what_the_action_uses_does_not_limit_it() -> None:
    limits = Limits(MemoryLimitStore())
    grant = Grant(key_id="a", quota=Quota(records=1))
    assert limits.account(grant, None, "search") is UNLIMITED
    grant = Grant(key_id="a", quota=Quota(read_units=1))
    assert limits.account(grant, None, "records.write") is UNLIMITED


async def test_refused_request_waits_for_room_of_one_request() -> None:
    limits = Limits(MemoryLimitStore(), rate=parse_rate("2/h burst=3"))
    account = limits.account(Grant(key_id="a"), None, "search")
    for left in (2, 1, 0):
        await account.take()
        assert account.remaining == left
    with pytest.raises(RateLimited, match=r"again in 1[78]\d\d s") as raised:
        await account.take()
    assert raised.value.retry_after == pytest.approx(1800, abs=60)


async def test_request_that_was_given_back_is_allowed_again_once() -> None:
    account = Limits(MemoryLimitStore(), rate=DAILY).account(Grant(key_id="a"), None, "search")
    await account.take()
    account.add(Usage(requests=-5))
    assert account.state is not None
    assert account.state.backlog_s == 0
    assert (account.remaining, await used_up(account)) == (2, 2)


async def test_used_up_quota_is_there_again_at_midnight() -> None:
    grant = Grant(key_id="a", quota=Quota(bytes=100))
    write = Limits(MemoryLimitStore()).account(grant, None, "records.write")
    with pytest.raises(QuotaExceeded, match=r"100 bytes per day .* at midnight UTC") as raised:
        await write.take(Usage(bytes=101))
    until = (time.time() + (raised.value.retry_after or 0)) / 86_400  # in days
    assert until == pytest.approx(round(until), abs=60 / 86_400)


async def test_required_room_is_not_counted() -> None:
    grant = Grant(key_id="a", quota=Quota(records=5))
    write = Limits(MemoryLimitStore()).account(grant, None, "records.write")
    write.require_room(Usage(records=6))  # nothing is known before the first `take`
    await write.take(Usage(records=2))
    for _ in range(2):
        write.require_room(Usage(records=3))
        with pytest.raises(QuotaExceeded, match="5 records per day does not suffice: 2 are used"):
            write.require_room(Usage(records=4))
    await write.take(Usage(records=3))
    limited = Limits(MemoryLimitStore(), rate=DAILY).account(Grant(key_id="a"), None, "imports")
    await limited.take()
    limited.require_room(Usage(records=10**9))  # it has no quota


async def test_records_of_a_job_count_for_its_key() -> None:
    limits = Limits(MemoryLimitStore())
    assert limits.records_account("", 5) is UNLIMITED
    assert limits.records_account("a", None) is UNLIMITED
    job = limits.records_account("a", 5)
    assert (job.rate, job.has_quota) == (None, True)
    await job.take(Usage(records=4))
    with pytest.raises(QuotaExceeded, match="5 records"):
        await job.take(Usage(records=2))
    write = limits.account(Grant(key_id="a", quota=Quota(records=5)), None, "records.write")
    with pytest.raises(QuotaExceeded, match="4 are used"):
        await write.take(Usage(records=2))
    await limits.records_account("b", 5).take(Usage(records=5))
