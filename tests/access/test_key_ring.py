"""Managed keys as a process knows them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from service.access.credentials import Credential
from service.access.grant import UNRESTRICTED, Grant
from service.access.key_format import digest_of, new_id, new_key
from service.access.key_ring import MAX_AGE_S, RETRY_AFTER_S, KeyRing
from service.access.policy import AccessPolicy
from service.errors import KeyMissing, KeyRejected, KeysUnavailable

SERVICE_KEY = "a-key-of-24-characters-1"


class Time:
    """The two clocks of a ring."""

    def __init__(self) -> None:
        self.age, self.wall = 1_000.0, 1_800_000_000.0

    def ring(self, *, is_empty: bool = False) -> KeyRing:
        return KeyRing(is_empty=is_empty, clock=lambda: self.age, now=lambda: self.wall)

    def policy(self, ring: KeyRing, *keys: str) -> AccessPolicy:
        return AccessPolicy(keys, "127.0.0.1", 0, ring=ring, now=lambda: self.wall)


@pytest.fixture
def time() -> Time:
    return Time()


def credential(key: str, id: str, expires_at: float | None = None) -> Credential:
    digest = digest_of(key)
    grant = Grant(tenant=f"key:{id}", key_id=id, expires_at=expires_at, credential=digest)
    return Credential(digest, grant, digest)


def stored(*keys: tuple[str, str, float | None]) -> dict[str, Sequence[Credential]]:
    found: dict[str, list[Credential]] = {}
    for key, id, expires_at in keys:
        found.setdefault(id, []).append(credential(key, id, expires_at))
    return dict(found)


ID, OTHER_ID = new_id(), new_id()
KEY, OTHER = new_key(ID), new_key(OTHER_ID)


def test_policy_is_open_without_keys_and_closed_once_there_is_one(time: Time) -> None:
    ring = time.ring(is_empty=True)
    policy = time.policy(ring)
    assert policy.authenticate([]) is UNRESTRICTED
    policy.check_still_valid(UNRESTRICTED)
    ring.replace(stored((KEY, ID, None)), has_keys=True)
    with pytest.raises(KeyMissing):
        policy.authenticate([])
    with pytest.raises(KeyMissing, match="Authorization: Bearer"):
        policy.check_still_valid(UNRESTRICTED)
    assert policy.authenticate([KEY]).key_id == ID


def test_policy_stays_closed_after_the_last_key_was_revoked(time: Time) -> None:
    ring = time.ring()
    ring.replace({}, has_keys=True)
    assert time.policy(ring).requires_key
    with pytest.raises(KeyRejected):
        time.policy(ring).authenticate([KEY])


def test_policy_is_closed_until_the_store_was_read(time: Time) -> None:
    ring = time.ring()
    for sent in ([], [KEY], ["something"]):
        with pytest.raises(KeysUnavailable, match="can't be checked just now") as error:
            time.policy(ring).authenticate(sent)
        assert error.value.retry_after == 1
    both = time.policy(ring, SERVICE_KEY)
    assert both.authenticate([SERVICE_KEY]).key_id
    with pytest.raises(KeyMissing):
        both.authenticate([])
    with pytest.raises(KeysUnavailable):
        both.authenticate([KEY])
    ring.replace({}, has_keys=False)
    assert time.policy(ring).authenticate([]) is UNRESTRICTED


def test_ring_rejects_keys_that_it_does_not_have(time: Time) -> None:
    ring = time.ring()
    ring.replace(stored((KEY, ID, None)), has_keys=True)
    assert ring.authenticate(KEY).key_id == ID
    for wrong in (OTHER, new_key(ID), KEY[:-1], KEY + "x", "csk_", "csk_\ud800"):
        with pytest.raises(KeyRejected) as error:
            ring.authenticate(wrong)
        assert wrong[20:] not in error.value.detail or not wrong[20:]


def test_ring_takes_both_secrets_of_a_rotated_key_until_the_old_one_expires(time: Time) -> None:
    new = new_key(ID)
    ring = time.ring()
    ring.replace(stored((new, ID, None), (KEY, ID, time.wall + 60)), has_keys=True)
    policy = time.policy(ring)
    grants = [policy.authenticate([each]) for each in (new, KEY)]
    time.wall += 60
    policy.check_still_valid(grants[0])
    assert policy.authenticate([new]) == grants[0]
    with pytest.raises(KeyRejected, match="expired"):
        policy.check_still_valid(grants[1])
    with pytest.raises(KeyRejected, match="expired"):
        policy.authenticate([KEY])


def test_grant_is_no_longer_valid_once_its_key_is_revoked_or_rotated(time: Time) -> None:
    ring = time.ring()
    ring.replace(stored((KEY, ID, None), (OTHER, OTHER_ID, None)), has_keys=True)
    policy = time.policy(ring, SERVICE_KEY)
    grants = [policy.authenticate([each]) for each in (KEY, OTHER, SERVICE_KEY)]
    for grant in grants:
        policy.check_still_valid(grant)
    ring.replace(stored((new_key(ID), ID, None)), has_keys=True)
    for grant in grants[:2]:
        with pytest.raises(KeyRejected):
            policy.check_still_valid(grant)
    policy.check_still_valid(grants[2])


def test_ring_is_used_for_a_bounded_time_without_its_store(time: Time) -> None:
    ring = time.ring()
    ring.replace(stored((KEY, ID, None)), has_keys=True)
    policy = time.policy(ring, SERVICE_KEY)
    grant = policy.authenticate([KEY])
    time.age += MAX_AGE_S
    assert policy.authenticate([KEY]) == grant
    time.age += 0.1
    for refused in (lambda: policy.authenticate([KEY]), lambda: policy.check_still_valid(grant)):
        with pytest.raises(KeysUnavailable, match="can't be checked just now") as error:
            refused()
        assert error.value.retry_after == RETRY_AFTER_S
    assert policy.authenticate([SERVICE_KEY]).key_id
    with pytest.raises(KeyMissing):
        policy.authenticate([])
    ring.confirm()
    assert policy.authenticate([KEY]) == grant


def test_policy_accepts_the_first_valid_one_of_two_keys(time: Time) -> None:
    ring = time.ring()
    ring.replace(stored((KEY, ID, None)), has_keys=True)
    assert time.policy(ring).authenticate([OTHER, KEY]).key_id == ID


def test_ring_that_was_not_told_otherwise_is_closed() -> None:
    ring = KeyRing()
    assert (ring.has_keys, ring.is_known) == (True, False)
    with pytest.raises(KeysUnavailable):
        AccessPolicy((), "127.0.0.1", 0, ring=ring).authenticate([])
